"""Flags that are seldom used and mean something all the same, through the real program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.runtime import host as hosts
from tests.waiting import PATIENCE_S, until

from .test_attached import nbc


@pytest.fixture(scope="module")
def store(module_path: Path) -> Iterator[Path]:
    yield module_path
    left = nbc(module_path, "ps", "-aq").stdout.split()
    if left:
        nbc(module_path, "rm", "-f", *left)


def test_the_last_ones_with_their_sizes(store: Path) -> None:
    """``ps -n N`` lists the N that were made last, running or not; ``-s`` what each wrote and what its files have in all."""
    for number in range(3):
        nbc(store, "run", "--name", f"made{number}", "toolbox", "sh", "-c", "head -c 5000 /dev/zero >/zeros", code=0)
    assert nbc(store, "ps", "-n", "2", "--format", "{{.Names}}", code=0).stdout.split() == ["made2", "made1"]
    assert nbc(store, "ps", "-l", "--format", "{{.Names}}", code=0).stdout.split() == ["made2"]
    titles, first, second = nbc(store, "ps", "-n", "2", "-s", code=0).stdout.splitlines()
    assert "SIZE" in titles
    for line in (first, second):
        assert re.search(r"\b[58](\.\d+)?kB \(virtual [\d.]+MB\)", line), line
    assert nbc(store, "ps", "-n", "x", code=125).stderr
    nbc(store, "rm", "made0", "made1", "made2", code=0)


def test_ps_tells_what_a_container_is_attached_to(store: Path, tmp_path: Path) -> None:
    """Docker's fields Mounts, LocalVolumes, Networks and Size, where a format asks for them."""
    mounts = ("-v", "kept:/v", "-v", f"{tmp_path}:/bound", "--tmpfs", "/t", "--network", "none")
    nbc(store, "create", "--name", "tied", *mounts, "toolbox", "true", code=0)
    form = "{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Size}}"
    whole = nbc(store, "ps", "-a", "--no-trunc", "--filter", "name=tied", "--format", form, code=0).stdout.strip()
    assert re.fullmatch(rf"kept,{re.escape(str(tmp_path))}\|1\|none\|.+ \(virtual .+\)", whole), whole
    short = nbc(store, "ps", "-a", "--filter", "name=tied", "--format", "{{.Mounts}}", code=0).stdout.strip()
    assert short == f"kept,{str(tmp_path)[:14]}…"
    nbc(store, "rm", "tied", code=0)


def test_ps_has_dockers_keys_as_json(store: Path) -> None:
    """All of them, each a word, and the size too: of ``{{json .}}`` it is looked for, of ``json`` only with ``-s``, as in docker."""
    nbc(
        store, "create", "--name", "shown", "-v", "kept:/v", "--network", "none", "-l", "a=b", "toolbox", "true", code=0
    )
    keys = "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Ports RunningFor Size State Status".split()
    for form, flags, size in (("{{json .}}", (), "virtual"), ("json", ("-s",), "virtual"), ("json", (), "")):
        words = ("ps", "-a", "--filter", "name=^/shown$", "--format", form, *flags)
        row = json.loads(nbc(store, *words, code=0).stdout)
        assert sorted(row.keys() - {"Tier"}) == keys
        assert {type(value) for value in row.values()} == {str}
        assert (row["LocalVolumes"], row["Labels"][:3], row["Names"]) == ("1", "a=b", "shown")
        assert (size in row["Size"]) if size else row["Size"] == "0B"
    nbc(store, "rm", "/shown", code=0)


@pytest.mark.parametrize(
    ("words", "code", "out", "said"),
    [
        ("ps --nope", 125, "", "unrecognized arguments: --nope"),
        ("exec --nope c true", 125, "", "unrecognized arguments: --nope"),
        ("stop -t x c", 125, "", "not a number: 'x'"),
        ("run --gpus all toolbox", 125, "", "--gpus cannot be had"),
        ("ps --filter name", 125, "", "not a filter: 'name'"),
        ("network ls --filter name", 125, "", "not a filter: 'name'"),
        ("exec -e =y c true", 125, "", "variable without a name: '=y'"),
        ("create --health-interval 3x toolbox", 125, "", "not a duration: '3x'"),
        ("create --memory 4x toolbox", 125, "", "not a size: '4x'"),
        ("create --attach nope toolbox", 125, "", "no such stream: 'nope'"),
        ("create --restart nope toolbox", 1, "", "unknown restart policy 'nope'"),
        ("run --restart nope toolbox", 125, "", "unknown restart policy 'nope'"),
        ("create --stop-signal nope toolbox", 1, "", "no such signal: 'nope'"),
        ("create --pull never nope", 1, "", "no such image"),
        ("run --pull never nope", 125, "", "no such image"),
        ("run -d -a stdout toolbox", 1, "", "both --attach and --detach"),
        ("run -it toolbox true", 1, "", "not a TTY"),
        ("ps extra", 1, "", "unrecognized arguments: extra"),
        ("stop", 1, "", "the following arguments are required"),
        ("run", 1, "", "the following arguments are required"),
        ("frobnicate", 1, "", "unknown command"),
        ("ps --format {{.State", 1, "", "cannot print by the format"),
        ("volume ls --filter nope=1", 1, "", "invalid filter 'nope=1'"),
        ("volume inspect nope", 1, "[]", "no such volume: 'nope'"),
        ("network inspect nope bridge -f {{.Name}}", 1, "bridge", "no such network: 'nope'"),
        ("inspect --type nope c", 1, "", "no type 'nope' to inspect"),
        ("network create bridge", 1, "", "choose another name"),
    ],
)
def test_exit_codes_of_what_is_wrong_are_dockers(store: Path, words: str, code: int, out: str, said: str) -> None:
    """125 for flags of any verb that cannot be read, and for what else keeps ``run`` from a start; 1 for flags that do not go together,
    operands, verbs, what the engine refuses and what is not there; what is there of several is printed all the same.
    """
    done = nbc(store, *words.split(), code=code)
    assert (done.stdout.strip(), said in done.stderr) == (out, True), done.stderr


def test_a_copy_keeps_the_numbers_of_owners(store: Path, tmp_path: Path) -> None:
    """``cp -a`` both ways keeps user and group; without it what comes in is root's, and what goes out is the caller's."""
    nbc(store, "create", "--name", "kept", "toolbox", "stat", "-c", "%u:%g %a %n", "/in", "/in/file", "/plain", code=0)
    box = tmp_path / "in"
    box.mkdir(mode=0o750)
    (box / "file").write_text("x")
    (box / "file").chmod(0o640)
    mine = f"{os.getuid()}:{os.getgid()}"
    if os.geteuid() == 0:
        os.chown(box / "file", 33, 34)
        mine = "33:34"
    nbc(store, "cp", "-a", str(box), "kept:/in", code=0)
    nbc(store, "cp", str(box / "file"), "kept:/plain", code=0)
    assert nbc(store, "start", "-i", "kept", code=0).stdout.count("/in") == 2  # as in docker, that attaches to it, too
    lines = nbc(store, "start", "-a", "kept", code=0).stdout.splitlines()
    assert lines[1].split()[0] == mine
    assert [line.split(" ", 1)[1] for line in lines] == ["750 /in", "640 /in/file", "640 /plain"]
    assert lines[2].startswith("0:0 ")
    nbc(store, "cp", "-a", "kept:/in/file", str(tmp_path / "back"), code=0)
    if os.geteuid() == 0:
        assert (tmp_path / "back").stat().st_uid == 33
    nbc(store, "cp", "kept:/in/file", str(tmp_path / "mine"), code=0)
    assert (tmp_path / "mine").stat().st_uid == os.getuid()
    nbc(store, "rm", "kept", code=0)


def test_a_link_is_no_container(store: Path) -> None:
    """``rm -l`` removes a link between containers in docker: there are none here, so it is refused and nothing is removed."""
    nbc(store, "create", "--name", "stays", "toolbox", "true", code=0)
    assert "--link cannot be had" in re.sub(r"\s+", " ", nbc(store, "rm", "-l", "stays", code=125).stderr)
    nbc(store, "rm", "stays", code=0)


def test_who_is_asked_to_end_gets_the_signal_that_was_named(store: Path) -> None:
    """By kill, stop and restart, in place of its own; how long they wait has two names, as in docker's newer and older clients."""
    script = "trap 'echo one; exit 4' USR1; trap 'echo two' USR2; echo begun; while :; do sleep 0.05; done"
    nbc(store, "run", "-d", "--name", "asked", "toolbox", "sh", "-c", script, code=0)

    def said(*words: str) -> None:
        until(lambda: nbc(store, "logs", "asked", code=0).stdout.split() == [*words])

    said("begun")
    nbc(store, "kill", "--signal", "USR2", "asked", code=0)
    said("begun", "two")
    nbc(store, "restart", "-s", "USR1", "--timeout", str(PATIENCE_S), "asked", code=0)
    said("begun", "two", "one", "begun")
    assert "'NONE'" in nbc(store, "restart", "-s", "NONE", "asked", code=1).stderr
    nbc(store, "stop", "--signal", "SIGUSR1", "--time", str(PATIENCE_S), "asked", code=0)
    assert nbc(store, "inspect", "-f", "{{.State.ExitCode}}", "asked", code=0).stdout == "4\n"
    for flag in ("--checkpoint", "--checkpoint-dir"):
        assert f"{flag} cannot be had" in nbc(store, "start", flag, "x", "asked", code=125).stderr
    nbc(store, "rm", "asked", code=0)


def test_a_part_of_a_log(store: Path) -> None:
    """From and until an instant, or what was so long ago; ``attach --no-stdin`` shows what comes, and ends with the container."""
    nbc(store, "run", "--name", "parts", "toolbox", "sh", "-c", "echo one; sleep 0.1; echo two", code=0)
    first, second = (line.split()[0] for line in nbc(store, "logs", "-t", "parts", code=0).stdout.splitlines())
    assert first < second
    assert nbc(store, "logs", "--since", second, "parts", code=0).stdout == "two\n"
    assert nbc(store, "logs", "--until", first, "parts", code=0).stdout == "one\n"
    assert nbc(store, "logs", "--since", "1h", "--until", "0s", "parts", code=0).stdout == "one\ntwo\n"
    nbc(store, "rm", "parts", code=0)
    waits = "until test -e /go; do sleep 0.05; done; echo came"
    nbc(store, "run", "-d", "-i", "--name", "shown", "toolbox", "sh", "-c", waits, code=0)
    words = [sys.executable, "-m", "nbcontainers", "attach", "--no-stdin", "shown"]
    environment = {**os.environ, "NBCONTAINERS_ROOT": str(store)}
    with subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as seen:
        time.sleep(0.5)
        assert seen.poll() is None
        nbc(store, "exec", "shown", "touch", "/go", code=0)
        assert seen.communicate(timeout=PATIENCE_S)[0] == b"came\n"
    assert seen.returncode == 0
    nbc(store, "rm", "shown", code=0)


def test_a_copy_of_what_a_link_leads_to(store: Path, tmp_path: Path) -> None:
    """``cp -L``; without it the link itself comes. It says nothing, with -q or without."""
    nbc(store, "create", "--name", "linked", "toolbox", "true", code=0)
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    assert nbc(store, "cp", "-L", str(tmp_path / "link"), "linked:/tmp/followed", code=0).stdout == ""
    assert nbc(store, "cp", "-q", str(tmp_path / "link"), "linked:/tmp/link", code=0).stdout == ""
    nbc(store, "cp", "linked:/tmp/followed", str(tmp_path / "back"), code=0)
    assert (tmp_path / "back").read_text() == "content"
    nbc(store, "cp", "linked:/tmp/link", str(tmp_path / "same"), code=0)
    assert os.readlink(tmp_path / "same") == "file"
    nbc(store, "rm", "linked", code=0)


def test_rm_takes_what_has_no_name_along(store: Path) -> None:
    """``rm -v`` removes a container's anonymous volumes; stats tells of all that there are, with their whole number."""
    before = {*nbc(store, "volume", "ls", "-q", code=0).stdout.split(), "stays"}
    nbc(store, "create", "--name", "bare", "-v", "/v", "-v", "stays:/w", "toolbox", "true", code=0)
    number = nbc(store, "ps", "-aq", "--no-trunc", "-f", "name=^/bare$", code=0).stdout.strip()
    assert number not in nbc(store, "stats", "--no-stream", "--no-trunc", code=0).stdout
    assert number in nbc(store, "stats", "-a", "--no-stream", "--no-trunc", code=0).stdout
    assert len(nbc(store, "volume", "ls", "-q", code=0).stdout.split()) == len(before) + 1
    nbc(store, "rm", "-v", "bare", code=0)
    assert {*nbc(store, "volume", "ls", "-q", code=0).stdout.split()} == before
    nbc(store, "volume", "rm", "stays", code=0)


def test_a_privileged_command_in_an_ordinary_container(store: Path) -> None:
    """``exec --privileged`` has every capability that can be given, in a container that has fewer; others keep theirs."""
    nbc(store, "run", "-d", "--name", "box", "--cap-drop", "ALL", "toolbox", "sleep", "600", code=0)
    masks = {
        flag: int(nbc(store, "exec", *flag, "box", "grep", "CapEff", "/proc/self/status", code=0).stdout.split()[1], 16)
        for flag in ((), ("--privileged",))
    }
    assert masks[()] == 0
    assert masks["--privileged",] >> 21 & 1, "CAP_SYS_ADMIN"
    assert nbc(store, "exec", "box", "grep", "CapEff", "/proc/1/status", code=0).stdout.split()[1] == "0" * 16
    nbc(store, "rm", "-f", "box", code=0)


def test_strict_makes_an_error_of_a_warning(store: Path) -> None:
    """What would not be enforced is listed, and nothing is made; without --strict it is a warning."""
    words = ("-p", "8080:80", "--network", "host", "toolbox", "true")
    before = nbc(store, "ps", "-aq", code=0).stdout
    for verb, code, kind, why in (("run", 125, "host", "this host's network"), ("create", 1, "none", "no network")):
        done = nbc(store, verb, "--strict", "-p", "8080:80", "--network", kind, "toolbox", "true", code=code)
        assert "not enforced on this host" in done.stderr
        assert f"published ports: the container has {why}" in re.sub(r"\s+", " ", done.stderr)
    assert nbc(store, "ps", "-aq", code=0).stdout == before
    assert "warning: published ports" in nbc(store, "run", "--rm", *words, code=0).stderr
    assert "warning: published ports" in nbc(store, "create", "--name", "told", *words, code=0).stderr
    assert "warning: published ports" in nbc(store, "start", "told", code=0).stderr
    nbc(store, "rm", "-f", "told", code=0)
    network: tuple[str, ...] = ()  # the usual one, if it is whole
    if not hosts.probe().way_out().holds:
        done = nbc(store, "run", "--rm", "--strict", "toolbox", "true", code=125)
        assert "no way out of its networks to the world" in re.sub(r"\s+", " ", done.stderr)
        network = ("--network", "none")
    assert nbc(store, "run", "--rm", "--strict", *network, "toolbox", "echo", "runs", code=0).stdout == "runs\n"
    # What the host has lost since it was made counts too.
    nbc(store, "create", "--strict", *network, "--name", "later", "toolbox", "true", code=0)
    nbc(store, "start", "-a", "later", code=0)
    nbc(store, "rm", "later", code=0)


def test_info_counts_what_is_there(store: Path) -> None:
    """Containers by their state and images, as ``docker info`` tells them, by Docker's keys, with the machine's own figures."""
    nbc(store, "create", "--name", "counted", "toolbox", "true", code=0)
    shown = nbc(store, "info", code=0).stdout
    item = json.loads(nbc(store, "info", "--format", "{{json .}}", code=0).stdout)
    assert item["Containers"] == len(nbc(store, "ps", "-aq", code=0).stdout.split())
    assert item["ContainersRunning"] + item["ContainersPaused"] + item["ContainersStopped"] == item["Containers"] > 0
    assert item["Images"] == len(set(nbc(store, "images", "-q", code=0).stdout.split())) > 0
    assert (item["KernelVersion"], item["Name"]) == (os.uname().release, os.uname().nodename)
    assert item["NCPU"] == len(os.sched_getaffinity(0))
    assert f"Containers: {item['Containers']}\n Running: {item['ContainersRunning']}\n" in shown
    assert nbc(store, "info", "--format", "{{.NCPU}} {{.OSType}}", code=0).stdout == f"{item['NCPU']} linux\n"
    assert "'nbcontainers info'" in nbc(store, "system", "info", code=1).stderr
    nbc(store, "rm", "counted", code=0)


def test_events_by_a_template(store: Path) -> None:
    """Each has Docker's fields, and an attribute that one lacks is no error."""
    nbc(store, "run", "--rm", "--name", "told", "toolbox", "sh", "-c", "exit 3")
    form = "{{.Type}} {{.Action}} {{.Status}} {{.From}} {{.Scope}} {{.Actor.Attributes.exitCode}}"
    words = ("events", "--since", "10m", "--until", "0s", "-f", "container=told", "--format", form)
    lines = nbc(store, *words, code=0).stdout.splitlines()
    assert "container die die toolbox local 3" in lines
    assert "container start start toolbox local <no value>" in lines
