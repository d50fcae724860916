"""How lists are printed."""

from __future__ import annotations

import json

import pytest

from nbcontainers.cli import format as form
from nbcontainers.cli.template.values import Labels
from nbcontainers.errors import NBContainersError

ROW = {
    "ID": "abc",
    "State": {"Pid": 7},
    "Ports": ["80/tcp"],
    "Env": ["A=1", "B=x y"],
    "Volumes": {"/b": {}, "/a": {}},
    "Mounts": [{"Type": "bind", "Source": "/tmp", "Destination": "/t", "Mode": "ro", "RW": False, "Propagation": ""}],
    "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "Sysctls": None},
    "Config": {"Labels": {"x": "y", "a.b": "c", "none": ""}},
    "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.0.0.2"}}, "Ports": {"80/tcp": None}},
    "Up": True,
    "Down": False,
    "Cmd": None,
    "Labels": None,
    "PidsLimit": None,
    "CreatedAt": "a\tb",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "abc"),
        ("{{ .ID }}: {{.State.Pid}}", "abc: 7"),
        (r"{{.ID}}\t{{json .Ports}}", 'abc\t["80/tcp"]'),
        ("{{json .ID}}", '"abc"'),
        ("{{json .HostConfig.LogConfig}}", '{"Type":"json-file","Config":{"max-size":"1m"}}'),
        ("{{.State}}", "{7}"),
        ("{{.State.Health}} {{json .State.Health}}", "<nil> null"),
        ("{{.Env}} {{.Ports}}", "[A=1 B=x y] [80/tcp]"),
        ("{{.Volumes}}", "map[/a:{} /b:{}]"),
        ("{{.HostConfig}}", "{{json-file map[max-size:1m]} map[]}"),
        ("{{.Mounts}}", "[{bind  /tmp /t  ro false }]"),
        ("{{.Up}} {{.Down}}", "true false"),
        ("{{.Cmd}} {{.Labels}} {{.PidsLimit}}", "[] map[] <nil>"),
        ("{{.Config.Labels.x}} {{.Config.Labels.none}}|{{.Config.Labels.missing}}", "y |<no value>"),
        ("{{.Labels.x}} {{.HostConfig.Sysctls.a}} {{json .Config.Labels.missing}}", "<no value> <no value> null"),
        ("{{.NetworkSettings.Networks.nope.IPAddress}}", "<no value>"),
        ('{{index .Config.Labels "a.b"}} {{ index .Config.Labels `x` }}', "c y"),
        ('{{index .Config.Labels "missing"}}|{{index .Labels "x"}}|', "||"),
        ('{{index .NetworkSettings.Networks "nope"}}', "<nil>"),
        (
            '{{index .NetworkSettings.Networks "nope"}} {{index .NetworkSettings.Ports "81/tcp"}}',
            "<no value> <no value>",
        ),
        ('{{index .NetworkSettings.Networks "bridge" "IPAddress"}} {{index . "ID"}}', "10.0.0.2 abc"),
        ('{{index .Env 1}} {{index .NetworkSettings.Ports "80/tcp"}}', "B=x y <no value>"),
        ('{{index .State "Nope"}}', "<no value>"),
    ],
)
def test_fields_follow_paths(template: str, text: str) -> None:
    """``{{.A.B}}`` walks into objects; what is no plain value is as Go's templates print it, and JSON where that is asked for."""
    assert form.rows([ROW], template, []) == text


@pytest.mark.parametrize("template", ["plain", "{{.ID", "{{.ID}} {{if .X}}"])
def test_what_is_no_template_is_refused(template: str) -> None:
    """It is an error that says what can be written, also where there is nothing to print."""
    for items in ([ROW], []):
        with pytest.raises(NBContainersError, match="cannot print") as caught:
            form.rows(items, template, [])
        assert "{{.ID}}" in caught.value.hint


def test_a_label_is_asked_for_by_its_name() -> None:
    """As in Docker's lists: whole where it has a comma, nothing where there is none, and titled by the end of its name."""
    row = {"ID": "abc", "Labels": Labels([("org.my-x_y", "1,z=2"), ("z", "3")])}
    assert form.rows([row], '{{.ID}}:{{.Label "org.my-x_y"}}:{{.Label `z`}}:{{.Label "no"}}', []) == "abc:1,z=2:3:"
    assert form.rows([row], "{{.Labels}} {{json .Labels}}", []) == 'org.my-x_y=1,z=2,z=3 "org.my-x_y=1,z=2,z=3"'
    assert form.rows([row], 'table {{.Label "org.my-x_y"}}', []).splitlines() == ["my x y", "1,z=2"]
    with pytest.raises(NBContainersError, match="no field .Label"):
        form.rows([{"ID": "abc"}], '{{.Label "z"}}', [])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{.NetworkSettings.Ports.tcp}}", "no field .tcp"),
        ("{{.Config.Labels.x.y}}", "no field .y"),
        ("{{index .Env 2}}", "no entry 2"),
        ('{{index .Env "A"}}', 'no entry "A"'),
        ("{{index .Config.Labels 0}}", "no entry 0"),
        ('{{index .ID "x"}}', 'no entry "x"'),
    ],
)
def test_what_is_no_entry_is_named(template: str, words: str) -> None:
    """A list has no names and no more numbers than entries; ports are keys that no path can name."""
    with pytest.raises(NBContainersError, match=words):
        form.rows([ROW], template, [])


def test_fields_make_a_table() -> None:
    """``table {{.A}}\\t{{.B}}`` has a column for each, with Docker's titles where there are some; a cell is no two."""
    columns = [("CONTAINER ID", "ID")]
    expected = ["CONTAINER ID   CREATED AT   PID: x", "abc            a\tb          7: x"]
    for tab in ("\t", r"\t"):
        template = tab.join(("table {{.ID}}", "{{.CreatedAt}}", "{{.State.Pid}}: x"))
        assert form.rows([ROW], template, columns).splitlines() == expected
    assert form.rows([], "table {{.ID}}", columns) == "CONTAINER ID"
    with pytest.raises(NBContainersError, match="cannot print"):
        form.rows([ROW], "table {{if .ID}}", columns)


def test_an_unknown_field_names_those_that_are_there() -> None:
    """``{{.Nmae}}`` lists the fields."""
    with pytest.raises(NBContainersError, match="no field .Nmae") as caught:
        form.rows([ROW], "{{.Nmae}}", [])
    assert ".ID, .State, .Ports" in caught.value.hint


def test_json_is_one_object_a_line() -> None:
    """``--format json`` can be read line by line."""
    lines = form.rows([ROW, ROW], "json", []).splitlines()
    assert [json.loads(line) for line in lines] == [ROW, ROW]


def test_tables_are_aligned() -> None:
    """Each column is as wide as its widest cell."""
    assert form.rows([ROW], None, [("CONTAINER ID", "ID"), ("X", "ID")]) == "CONTAINER ID   X\nabc            abc"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (86400, "24 hours"),
        (86400 * 2, "2 days"),
        (86400 * 13, "13 days"),
        (86400 * 59, "8 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 729, "24 months"),
        (86400 * 20, "2 weeks"),
        (86400 * 800, "2 years"),
    ],
)
def test_ages_are_worded_as_docker_does(seconds: float, text: str) -> None:
    """One unit; about a minute, about an hour; hours up to two days."""
    assert form.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (999, "999B"), (1234, "1.23kB"), (12_400_000, "12.4MB"), (5e12, "5TB")]
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    """Sizes are read at a glance."""
    assert form.size(count) == text


def test_names_are_sorted_as_docker_does() -> None:
    """By the numbers in them, upper case first, and of the same number the one with fewer zeros."""
    names = "A2 B-vol a1 a01 a001 aa v1x v2x v10x".split()
    assert sorted({*names}, key=form.natural) == names


@pytest.mark.parametrize(
    ("published", "exposed", "text"),
    [
        ([("0.0.0.0", 8080, 80, "tcp"), ("::", 8080, 80, "tcp")], [], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([("127.0.0.1", 82, 82, "tcp"), ("127.0.0.1", 81, 81, "tcp")], [], "127.0.0.1:81-82->81-82/tcp"),
        (
            [("127.0.0.1", 81, 81, "tcp"), ("127.0.0.1", 81, 81, "udp")],
            [],
            "127.0.0.1:81->81/tcp, 127.0.0.1:81->81/udp",
        ),
        ([("1.2.3.4", 81, 81, "tcp"), ("1.2.3.4", 83, 83, "tcp")], [], "1.2.3.4:81->81/tcp, 1.2.3.4:83->83/tcp"),
        ([("1.2.3.4", 9, 80, "tcp"), ("1.2.3.4", 10, 81, "tcp")], [], "1.2.3.4:9->80/tcp, 1.2.3.4:10->81/tcp"),
        ([("1.2.3.4", 9, 80, "tcp")], ["82/tcp", "80/tcp", "81/tcp", "53/udp"], "53/udp, 81-82/tcp, 1.2.3.4:9->80/tcp"),
        ([], [], ""),
    ],
)
def test_ports_are_written_as_docker_writes_them(
    published: list[tuple[str, int, int, str]], exposed: list[str], text: str
) -> None:
    """In ranges where they have the same numbers on this host, then the others; those that are only exposed stand alone."""
    assert form.ports(published, exposed) == text
