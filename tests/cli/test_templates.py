"""Templates beside Docker's: on the same container, each prints what Docker prints, and is refused where Docker refuses it.

``templates.json`` has the templates, the container as ``docker inspect`` prints it, and what Docker made of each: a text, or null
where it is an error. ``NBC_GOLDEN=write`` with dockerd writes it anew; in CI Docker is asked again.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.cli import format as form
from nbcontainers.errors import NBContainersError
from tests.build import peer

GOLDEN = Path(__file__).parent / "templates.json"
DATA = json.loads(GOLDEN.read_text())
MADE = (
    "--name one -m 64m --volume /etc:/e:ro --tmpfs /t:size=1m --env Y=2 --env Z=x --workdir /tmp --restart on-failure:3 "
    "--network none --hostname hh --label q=r --label a.b=c --expose 80 --expose 53/udp --health-cmd true "
    "--publish 127.0.0.1:8080:80 --publish 8081:80 --ulimit nofile=5:6 --dns 1.2.3.4 --stop-timeout 5 app sh -c true"
)
MORE = {
    "{{range 3}}{{.}}{{end}}": "012",
    "{{with .Nope}}a{{else with .Names}}{{.}}{{end}}": None,
    '{{with ""}}a{{else with .Name}}{{.}}{{else}}b{{end}}': "/one",
    '{{join .Config.Labels ","}}': "c,r",
    '{{printf "%U %b %o %e|%6.2f|%+d" 9731 5 8 1.5 2.5 3}}': "U+2603 101 10 1.500000e+00|  2.50|+3",
    '{{printf "%T %T %T" .Id .State.Running 1.5}}': "string bool float64",
    '{{printf "%T %T" .Config.Env .Config.Labels}}': "[]interface {} map[string]interface {}",
    '{{pad .Name 1 2}}|{{truncate .Name 2}}|{{title "ab c-d"}}': " /one  |/o|Ab C-D",
}


def made(template: str, row: Mapping[str, Any]) -> str | None:
    """What a template prints; None where it is refused."""
    try:
        return form.fields(row, template)
    except NBContainersError:
        return None


@pytest.mark.parametrize("template", DATA["templates"])
def test_a_template_prints_what_docker_prints(template: str) -> None:
    """Fields, functions, blocks, variables, and the two ways in which Docker reads a container: as its objects and as JSON."""
    assert made(template, DATA["container"]) == DATA["templates"][template]


@pytest.mark.parametrize("template", MORE)
def test_later_dockers_can_more(template: str) -> None:
    """What came to Go's templates after the Docker that was asked, and the names of types, which are those of JSON's values."""
    assert made(template, DATA["container"]) == MORE[template]


PARTS = """{{ }} {{- - }} ( ) | := = , . $ $x .Name .Config.Env .Nope "a" `b` 'c' 1 -2 0x 1.5 true nil if else range with end break continue
define template block index len printf eq and or not slice join json print upper \\t text""".split()


@given(st.lists(st.sampled_from([*PARTS, " "]), max_size=30).map("".join))
def test_any_text_is_a_template_or_an_error_of_ours(text: str) -> None:
    """Whatever is written, nothing else comes of it."""
    made(text, DATA["container"])


@pytest.mark.peer("docker")
def test_docker_still_says_so() -> None:
    """Of a container of dockerd's, whatever it is, each template prints the same here and there."""
    if why := peer.Dockerd.missing():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, peer.dockerd(Path(folder)) as docker:
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        assert docker.run("import", "-", "app", data=empty.getvalue()).returncode == 0
        created = docker.run("create", *MADE.split())
        assert created.returncode == 0, created.stderr
        container = json.loads(docker.run("inspect", "one").stdout)[0]
        said = {}
        for template in DATA["templates"]:
            done = docker.run("inspect", "--format", template, "one")
            said[template] = done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None
    assert {template: made(template, container) for template in said} == said
    if os.environ.get("NBC_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps({"container": container, "templates": said}, indent=1) + "\n")
