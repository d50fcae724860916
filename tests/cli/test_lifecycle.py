"""The verbs of a container's life, through the real program."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from nbcontainers.runtime import host as hosts
from tests.waiting import PATIENCE_S, clock, until

from .test_attached import environment, nbc


@pytest.fixture(scope="module")
def store(module_path: Path) -> Iterator[Path]:
    yield module_path
    left = nbc(module_path, "ps", "-aq").stdout.split()
    if left:
        nbc(module_path, "rm", "-f", *left)


def state(store: Path, name: str) -> dict[str, object]:
    return dict(json.loads(nbc(store, "inspect", name, code=0).stdout)[0])


def test_a_life(store: Path, tmp_path: Path) -> None:
    """Made with docker's flags, paused, renamed, listed, restarted, stopped with its own signal."""
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    (tmp_path / "labels").write_text("a=b\n")
    script = "trap 'exit 9' USR1; echo $FROM_FILE ready; while :; do sleep 0.1; done"
    flags = ["--env-file", str(tmp_path / "env"), "--label-file", str(tmp_path / "labels"), "--stop-signal", "USR1"]
    flags += ["--stop-timeout", "120", "--cidfile", str(tmp_path / "cid"), "--domainname", "example"]
    identifier = nbc(store, "run", "-d", "--name", "one", *flags, "toolbox", "sh", "-c", script, code=0).stdout.strip()
    assert (tmp_path / "cid").read_text() == identifier
    assert "there already" in nbc(store, "run", "--cidfile", str(tmp_path / "cid"), "toolbox", "true", code=125).stderr
    nbc(store, "rename", "one", "two", code=0)
    assert "no such container" in nbc(store, "pause", "one", code=1).stderr
    nbc(store, "pause", "two", code=0)
    assert "(Paused)" in nbc(store, "ps", code=0).stdout
    assert "paused" in nbc(store, "exec", "two", "true", code=1).stderr
    nbc(store, "unpause", "two", code=0)
    titles, *rows = nbc(store, "top", "two", code=0).stdout.splitlines()
    assert titles.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    owner = (
        0 if hosts.probe().has_single_id else os.geteuid()
    )  # with a single id processes belong to those that they see
    assert {row.split()[0] for row in rows} == {pwd.getpwuid(owner).pw_name}
    assert nbc(store, "top", "two", "-o", "uid", code=0).stdout.split()[:2] == ["UID", str(owner)]
    assert any("sh -c trap" in row for row in rows)  # its own process is not the first one where numbers begin anew
    title, *commands = nbc(store, "top", "two", "-o", "comm", code=0).stdout.split()
    assert title == "COMMAND"
    assert "sh" in commands
    assert nbc(store, "exec", "two", "cat", "/proc/sys/kernel/domainname", code=0).stdout == "example\n"
    env = ("exec", "--env-file", str(tmp_path / "env"), "two", "sh", "-c", "echo $FROM_FILE")
    assert nbc(store, *env, code=0).stdout == "1\n"
    nbc(store, "restart", "two", code=0)
    until(lambda: nbc(store, "logs", "two").stdout == "1 ready\n1 ready\n")
    nbc(store, "stop", "two", code=0)
    found = state(store, "two")
    assert found["Name"] == "/two"
    assert found["State"]["ExitCode"] == 9  # type: ignore[index]
    assert found["Config"]["Labels"]["a"] == "b"  # type: ignore[index]
    assert nbc(store, "rename", "two", "two", code=1).stderr
    nbc(store, "rm", "two", code=0)


def test_what_does_not_run_is_stopped_already(store: Path) -> None:
    """One that was never started or has ended is named, as in docker, and stays as it is; restart starts it."""

    def shown(name: str) -> str:
        return nbc(store, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name, code=0).stdout.strip()

    nbc(store, "create", "--name", "idle", "--rm", "toolbox", "sleep", "600", code=0)
    assert nbc(store, "stop", "idle", code=0).stdout == "idle\n"
    assert shown("idle") == "created 0"
    assert nbc(store, "stop", "-s", "NONE", "idle", code=1).stderr
    nbc(store, "restart", "-t", "0", "idle", code=0)
    assert shown("idle").startswith("running")
    nbc(store, "pause", "idle", code=0)
    assert "is paused" in nbc(store, "start", "idle", code=1).stderr
    nbc(store, "rm", "-f", "idle", code=0)
    nbc(
        store,
        "run",
        "-d",
        "--name",
        "slow",
        "toolbox",
        "sh",
        "-c",
        "trap 'sleep 1; exit 3' TERM; echo; sleep 99 & wait",
        code=0,
    )
    until(lambda: has_said(store, "slow", "\n"))
    nbc(store, "stop", "-t", "-1", "slow", code=0)
    assert shown("slow") == "exited 3"
    assert len(nbc(store, "ps", "-qan", "-1").stdout.split()) == len(nbc(store, "ps", "-qa").stdout.split()) >= 1
    nbc(store, "rm", "slow", code=0)
    nbc(store, "run", "--name", "over", "toolbox", "sh", "-c", "exit 5", code=5)
    assert nbc(store, "stop", "over", code=0).stdout == "over\n"
    assert shown("over") == "exited 5"
    nbc(store, "restart", "over", code=0)
    until(lambda: shown("over") == "exited 5")
    nbc(store, "rm", "over", code=0)


def test_what_could_not_start_is_kept(store: Path) -> None:
    """As in docker it can be looked at, with its code and why; its ID is told where it was detached; with --rm it goes."""
    assert nbc(store, "run", "--name", "missing", "toolbox", "no-such", code=127).stdout == ""
    shown = nbc(
        store, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", "missing", code=0
    ).stdout
    assert shown.startswith("created 127 ")
    assert "no-such" in shown
    detached = nbc(store, "run", "-d", "--name", "folder", "toolbox", "/tmp", code=126).stdout.strip()
    assert nbc(store, "ps", "-aq", "--no-trunc", "-f", "name=folder", code=0).stdout.strip() == detached
    nbc(store, "run", "--rm", "--name", "gone", "toolbox", "no-such", code=127)
    assert nbc(store, "ps", "-aq", "-f", "name=gone", code=0).stdout == ""
    nbc(store, "rm", "missing", "folder", code=0)


def test_restart_and_health_are_shown(store: Path) -> None:
    """In ps and inspect."""
    nbc(store, "run", "-d", "--name", "flaky", "--restart", "on-failure:1", "toolbox", "sh", "-c", "exit 4", code=0)
    flags = ["--health-cmd", "true", "--health-interval", "100ms", "--health-retries", "2", "--health-timeout", "60s"]
    flags += ["--health-start-period", "1s", "--health-start-interval", "200ms", "--log-driver", "json-file"]
    nbc(store, "run", "-d", "--name", "well", *flags, "toolbox", "sleep", "600", code=0)
    until(lambda: "(healthy)" in nbc(store, "ps").stdout)
    until(lambda: "Exited (4)" in nbc(store, "ps", "-a").stdout)
    found = state(store, "flaky")
    assert found["RestartCount"] == 1
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 1}  # type: ignore[index]
    well = state(store, "well")
    assert well["State"]["Health"]["Status"] == "healthy"  # type: ignore[index]
    assert well["Config"]["Healthcheck"] == {  # type: ignore[index]
        "Test": ["CMD-SHELL", "true"],
        "Interval": 100_000_000,
        "Timeout": 60_000_000_000,
        "StartPeriod": 1_000_000_000,
        "StartInterval": 200_000_000,
        "Retries": 2,
    }
    nbc(store, "update", "--restart", "always", "well", code=0)
    assert state(store, "well")["HostConfig"]["RestartPolicy"]["Name"] == "always"  # type: ignore[index]
    refused = nbc(store, "run", "--rm", "--restart", "always", "toolbox", "true", code=125)
    assert "restart" in refused.stderr
    nbc(store, "rm", "-f", "flaky", "well", code=0)


def test_only_the_streams_that_were_named(store: Path) -> None:
    """``-a stderr`` shows no standard output."""
    words = ("run", "-q", "--rm", "-a", "stderr", "toolbox", "sh", "-c", "echo out; echo err >&2")
    done = nbc(store, *words, code=0)
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "err")
    assert "both" in nbc(store, "run", "-d", "-a", "stdout", "toolbox", "true", code=1).stderr


def test_a_small_init(store: Path) -> None:
    """``--init`` is process 1 where this host has a static one, and is refused with a hint where it has none."""
    done = nbc(store, "run", "--rm", "--init", "toolbox", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline")
    if done.returncode:
        assert "catatonit" in done.stderr
    else:
        assert done.stdout.startswith("/sbin/docker-init -- sh")


def test_details_of_a_log(store: Path) -> None:
    """``logs --details`` puts the labels and variables that were chosen before each line, escaped, and a space, as docker does."""
    asked = ("--label", "team=a b,c", "--label", "tier=2", "-e", "XA=1", "-e", "Y=2")
    chosen = ("--log-opt", "labels=team,none", "--log-opt", "env-regex=^X")
    script = "echo one; printf tw; sleep 0.2; echo o; printf last"
    nbc(store, "run", "--name", "told", *asked, *chosen, "toolbox", "sh", "-c", script, code=0)
    told = "XA=1,team=a+b%2Cc "
    assert nbc(store, "logs", "--details", "told", code=0).stdout == f"{told}one\n{told}two\n{told}last"
    assert re.match(rf"\S+Z {re.escape(told)}one\n", nbc(store, "logs", "-t", "--details", "told", code=0).stdout)
    assert nbc(store, "logs", "told", code=0).stdout == "one\ntwo\nlast"
    shown = json.loads(nbc(store, "inspect", "-f", "{{json .HostConfig.LogConfig.Config}}", "told", code=0).stdout)
    assert (shown["labels"], shown["env-regex"]) == ("team,none", "^X")
    nbc(store, "run", "--name", "plain", "toolbox", "echo", "one", code=0)
    assert nbc(store, "logs", "--details", "plain", code=0).stdout == " one\n"
    nbc(store, "rm", "told", "plain", code=0)


def has_said(store: Path, name: str, word: str) -> bool:
    return word in nbc(store, "logs", name, code=0).stdout


def test_none_waits_for_the_end_of_another(store: Path) -> None:
    """``stop`` of several asks all of them at once, as Docker's: the first of these ends once the second was asked, too."""
    loop = "echo ready; while :; do sleep 0.05; done"
    deeds = {"early": "until [ -e /v/asked ]; do sleep 0.05; done", "late": "touch /v/asked"}
    for name, deed in deeds.items():
        words = ("-d", "--network", "none", "--name", name, "-v", "between:/v")
        nbc(store, "run", *words, "toolbox", "sh", "-c", f"trap '{deed}; exit 5' TERM; {loop}", code=0)
        until(partial(has_said, store, name, "ready"))
    done = nbc(store, "stop", "-t", str(int(PATIENCE_S)), "early", "none", "late", code=1)
    assert (done.stdout.split(), "no such container: 'none'" in done.stderr) == (["early", "late"], True), done.stderr
    assert nbc(store, "wait", "early", "late", code=0).stdout.split() == ["5", "5"]
    nbc(store, "rm", "early", "late", code=0)


def test_what_is_so_already_is_no_failure(store: Path) -> None:
    """start may be said again, and by several at once; wait tells of each, and one that never ran has not failed."""
    nbc(store, "create", "--name", "often", "toolbox", "sleep", "600", code=0)
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: nbc(store, "start", "often"), range(4)))
    assert [(one.returncode, one.stdout, one.stderr) for one in said] == [(0, "often\n", "")] * 4
    again = nbc(store, "start", "often", "nobody", "often", code=1)
    assert again.stdout.split() == ["often", "often"]
    assert "invalid container name ''" in nbc(store, "rename", "often", "", code=1).stderr
    assert state(store, "often")["Name"] == "/often"
    nbc(store, "create", "--name", "never", "toolbox", "true", code=0)
    nbc(store, "create", "--name", "wrong", "toolbox", "/nothing", code=0)
    began = clock()
    assert "no such file" in nbc(store, "start", "wrong", code=1).stderr
    assert clock() - began < 5  # it does not wait for another start
    assert nbc(store, "wait", "never", "nobody", "never", code=1).stdout.split() == ["0", "0"]
    assert "never" in nbc(store, "stats", "--no-stream", "often", "never", code=0).stdout
    title = nbc(store, "stats", "--no-stream", "often", code=0).stdout.splitlines()[0]
    shown = [
        json.loads(nbc(store, "stats", "--no-stream", "--format", "json", *name, code=0).stdout)
        for name in ((), ("often",))
    ]
    keys = "BlockIO CPUPerc Container ID MemPerc MemUsage Name NetIO PIDs".split()
    for row, called in zip(shown, (shown[0]["ID"], "often"), strict=True):
        assert sorted(row.keys() - {"Source"}) == keys
        assert {type(value) for value in row.values()} == {str}
        assert row["Container"] == called
        assert ("SOURCE" in title) != row["Source"].startswith("cgroup")
    assert nbc(store, "ps", "-aq", "-f", "ancestor=nothing", code=0).stdout == ""
    titles = nbc(store, "top", "often", "aux", code=0).stdout.splitlines()[0].split()
    assert titles == "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND".split()
    nbc(store, "rm", "-f", "often", "never", "wrong", code=0)


def test_a_line_that_came_in_pieces_is_one(store: Path) -> None:
    """For --tail, which -1 turns off, and for --timestamps."""
    script = "printf a; sleep .3; printf b; echo x >&2; sleep .3; echo c; printf d; sleep .2; echo e; printf f"
    nbc(store, "run", "--name", "pieces", "toolbox", "sh", "-c", script, code=0)
    assert nbc(store, "logs", "--tail", "2", "pieces", code=0).stdout == "de\nf"
    assert nbc(store, "logs", "--tail", "-1", "pieces", code=0).stdout == "abc\nde\nf"
    assert "'word'" in nbc(store, "logs", "--tail", "word", "pieces", code=1).stderr
    assert nbc(store, "logs", "--tail", "0", "pieces", code=0).stdout == ""
    lines = nbc(store, "logs", "--timestamps", "pieces", code=0).stdout.splitlines()
    assert [line.split("Z ")[1:] for line in lines] == [["abc"], ["de"], ["f"]]
    nbc(store, "rm", "pieces", code=0)


def test_who_follows_one_that_is_removed_is_told_nothing_of_it(store: Path) -> None:
    """Its log ends there."""
    nbc(store, "run", "-d", "--name", "short", "toolbox", "sh", "-c", "echo here; exec sleep 600", code=0)
    words = [sys.executable, "-m", "nbcontainers", "logs", "-f", "short"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(store), text=True, **pipes) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "here\n"
        nbc(store, "rm", "-f", "short", code=0)
        assert following.communicate(timeout=PATIENCE_S) == ("", "")
    assert following.returncode == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_empty_ones(store: Path, closed: str) -> None:
    """Nobody reads them or writes to them, and nothing of the store's is opened in their place."""
    words = [sys.executable, "-m", "nbcontainers", "run", "--rm", "-i", "toolbox", "sh", "-c", "cat; exit 3"]
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {closed}"],
        env={**os.environ, "NBCONTAINERS_ROOT": str(store)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_a_value_may_look_like_a_flag(store: Path) -> None:
    """As in Docker: behind a flag that wants a value stands its value, whatever it looks like; a command's words are its own."""
    words = ("run", "--rm", "-e", "-A=1", "--label", "-x", "--name", "dashes", "toolbox", "printenv", "-0", "--", "-A")
    assert nbc(store, *words, code=0).stdout == "1\0"
    assert "invalid container name '-d'" in nbc(store, "run", "--name", "-d", "toolbox", "true", code=125).stderr


def test_who_waits_for_a_container_may_be_first_to_remove_it(store: Path) -> None:
    """``rm -f`` of one whose client removes it at its end says that it is gone, whoever of the two did it."""
    for number in range(5):
        name = f"passing{number}"
        words = [
            sys.executable,
            "-m",
            "nbcontainers",
            "run",
            "--rm",
            "--name",
            name,
            "toolbox",
            "sh",
            "-c",
            "echo; exec sleep 600",
        ]
        with subprocess.Popen(words, env=environment(store), stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"\n"
            done = nbc(store, "rm", "-f", name, code=0)
            assert (done.stdout, done.stderr) == (f"{name}\n", "")
            assert client.wait(PATIENCE_S) == 137
    assert nbc(store, "ps", "-qa").stdout == ""
