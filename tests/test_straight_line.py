"""The main job, end to end, by the command line: what the README promises to a person who has just cloned this.

Each test runs the program as a user does, on the offline base, and looks at what the kernel says.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.runtime import host as hosts
from tests.machine import mounts
from tests.waiting import PATIENCE_S, until

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def store(module_path: Path) -> Iterator[Path]:
    yield module_path
    left = nbc(module_path, "ps", "-aq").stdout.split()
    if left:
        nbc(module_path, "rm", "-f", *left)


def environment(store: Path) -> dict[str, str]:
    return {**os.environ, "NBCONTAINERS_ROOT": str(store), "NO_COLOR": "1"}


def nbc(store: Path, *words: str, stdin: bytes = b"", code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "nbcontainers", *words],
        input=stdin,
        capture_output=True,
        env=environment(store),
        timeout=5 * PATIENCE_S,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def cgroups_of(container: str) -> list[str]:
    """The folders of a container in any hierarchy; a container's host name begins its ID, which names them."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path]


def processes_with(word: str) -> list[str]:
    """The processes whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def test_the_demo_shows_it_all(store: Path) -> None:
    """``nbcontainers demo`` builds, runs, and prints layers, changes, usage, the tier and the way to the notebooks."""
    shown = nbc(store, "demo").stdout
    assert re.search(r"This host: T[0-4]", shown)
    assert "hello from a container - process 1" in shown
    assert "the sum of 1000 numbers is 500500" in shown
    assert "COPY greet.py" in shown
    assert "/app/sum.txt" in shown
    assert re.search(r"deleted\s+/app/data/numbers.txt", shown)
    assert "01-first-container.ipynb" in shown or "notebooks" in shown
    assert nbc(store, "ps", "-aq").stdout == ""


def test_inside_is_another_world(store: Path) -> None:
    """Process 1, user 0, a name of its own, Docker's capabilities, a seccomp filter."""
    script = "echo $$; id -u; hostname; cat /proc/self/status | grep -i -e CapEff -e Seccomp:"
    lines = nbc(store, "run", "--rm", "toolbox", "sh", "-c", script).stdout.splitlines()
    assert lines[:2] == ["1", "0"]
    assert re.fullmatch("[0-9a-f]{12}", lines[2])
    values = dict(line.split(":\t") for line in lines[3:])
    assert values["Seccomp"] == "2"
    if ROOT:
        assert values["CapEff"] == "00000000a80425fb"


def test_a_program_that_takes_too_much_memory_is_ended_and_it_is_said(store: Path) -> None:
    """Exit code 137 alone would not tell: the words do."""
    done = nbc(store, "run", "--rm", "-m", "64m", "toolbox", "python3", "-c", 'x="a"*10**9', code=None)
    assert done.returncode == 137
    assert "out of memory" in done.stderr


def test_the_host_is_as_it_was(store: Path) -> None:
    """No mount and no cgroup is left of a container that has ended."""
    before = mounts()
    limits = ("-m", "64m", "--cpus", "0.5", "--pids-limit", "20")
    container = nbc(store, "run", "--rm", *limits, "toolbox", "sh", "-c", "echo done > /done; hostname").stdout.strip()
    until(lambda: not cgroups_of(container))
    until(lambda: mounts() <= before)


def test_a_killed_engine_leaves_nothing(store: Path) -> None:
    """kill -9 in the middle of a run: no process, mount or cgroup stays, and the next look says what happened."""
    before, mark = mounts(), f"sleep 98765{os.getpid()}"
    script = f"hostname; exec {mark}"
    engine = subprocess.Popen(
        [sys.executable, "-m", "nbcontainers", "run", "--name", "orphan", "-m", "64m", "toolbox", "sh", "-c", script],
        env=environment(store),
        stdout=subprocess.PIPE,
    )
    assert engine.stdout is not None
    with engine.stdout:
        container = engine.stdout.readline().decode().strip()
        assert len(container) == 12
        engine.send_signal(signal.SIGKILL)
        engine.wait()
    until(lambda: not processes_with(mark.replace(" ", "\0")))
    until(lambda: not cgroups_of(container))
    until(lambda: mounts() <= before)
    until(lambda: "Exited (137)" in nbc(store, "ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout)
    nbc(store, "rm", "orphan")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "sh -c 'kill -TERM $$'"], 143),
        (["/etc/passwd"], 126),
        (["no-such-program"], 127),
    ],
)
def test_exit_codes_are_dockers(store: Path, words: list[str], code: int) -> None:
    """The program's own; 128 and the signal; 126 for what cannot be run, 127 for what is not there."""
    nbc(store, "run", "--rm", "toolbox", *words, code=code)


def test_an_image_that_is_not_there_is_125(store: Path) -> None:
    """Docker's code for what is our own fault, and a hint."""
    done = nbc(store, "run", "--rm", "toolbux", "true", code=125)
    assert "no such image" in done.stderr
    assert "toolbox" in done.stderr


def test_a_detached_container_outlives_its_engine(store: Path) -> None:
    """It is listed, measured, read, stopped and removed by engines that did not start it."""
    identifier = nbc(
        store, "run", "-d", "--name", "web", "-l", "a=b", "toolbox", "sh", "-c", "echo started; sleep 600"
    ).stdout.strip()
    assert nbc(store, "ps", "--format", "{{.ID}} {{.Names}} {{.State}}").stdout == f"{identifier[:12]} web running\n"
    until(lambda: nbc(store, "logs", "web").stdout == "started\n")

    def row() -> dict[str, object]:
        return json.loads(nbc(store, "stats", "--no-stream", "--format", "json", "web").stdout)

    assert row()["Name"] == "web"
    until(lambda: row()["PIDs"] == "2")
    state = json.loads(nbc(store, "inspect", "web").stdout)[0]
    assert state["State"]["Running"] is True
    assert state["Config"]["Labels"]["a"] == "b"
    taken = nbc(store, "run", "--name", "web", "toolbox", "true", code=125)
    assert identifier[:12] in taken.stderr
    nbc(store, "stop", "-t", "1", "web")
    assert "Exited (137)" in nbc(store, "ps", "-a", "--format", "{{.Status}}").stdout
    nbc(store, "rm", "web")
    assert nbc(store, "ps", "-aq").stdout == ""


def test_what_a_container_changed_is_told_and_kept(store: Path) -> None:
    """``diff`` marks as docker does, ``export`` is the whole tree, and the image is as it was."""
    nbc(store, "run", "--name", "writer", "toolbox", "sh", "-c", "echo hi > /new; rm /etc/group; echo x >> /etc/passwd")
    changes = nbc(store, "diff", "writer").stdout.splitlines()
    assert changes == ["C /etc", "D /etc/group", "C /etc/passwd", "A /new"]
    archive = subprocess.run(
        [sys.executable, "-m", "nbcontainers", "export", "writer"],
        capture_output=True,
        env=environment(store),
        check=True,
    ).stdout
    names = subprocess.run(["tar", "t"], input=archive, capture_output=True, check=True).stdout.decode().split()
    assert "new" in {name.removeprefix("./") for name in names}
    assert "etc/group" not in {name.removeprefix("./") for name in names}
    nbc(store, "rm", "writer")
    assert nbc(store, "run", "--rm", "toolbox", "sh", "-c", "ls /new", code=2).stdout == ""


def test_volumes_memory_folders_and_a_root_that_cannot_be_written(store: Path, tmp_path: Path) -> None:
    """``-v`` shows a folder, ``:ro`` only to read; ``--tmpfs`` is in memory; ``--read-only`` holds for the rest."""
    (tmp_path / "in").write_text("from outside\n")
    script = (
        "cat /data/in; echo out > /data/out; (echo x > /ro/x) 2>/dev/null || echo ro; "
        "(echo x > /x) 2>/dev/null || echo root; echo y > /mem/y && cat /mem/y"
    )
    words = ("--read-only", "-v", f"{tmp_path}:/data", "-v", f"{tmp_path}:/ro:ro", "--tmpfs", "/mem:size=1m")
    assert nbc(store, "run", "--rm", *words, "toolbox", "sh", "-c", script).stdout.split("\n")[:4] == [
        "from outside",
        "ro",
        "root",
        "y",
    ]
    assert (tmp_path / "out").read_text() == "out\n"


def test_words_of_the_environment_user_and_folder(store: Path) -> None:
    """``-e``, ``-w``, ``-h``, ``--entrypoint`` and standard input reach the program."""
    words = ("-i", "-e", "A=b c", "-w", "/made/here", "-h", "box", "--entrypoint", "sh")
    done = nbc(store, "run", "--rm", *words, "toolbox", "-c", 'echo "$A $PWD $(hostname)"; cat', stdin=b"in\n")
    assert done.stdout == "b c /made/here box\nin\n"


def test_networks(store: Path) -> None:
    """``none`` is a loopback device and nothing else; ``host`` is this host's; without a word there is one of the container's own."""
    devices = "cat /proc/net/dev | tail -n +3 | cut -d: -f1"

    def seen(*words: str) -> set[str]:
        return set(nbc(store, "run", "--rm", *words, "toolbox", "sh", "-c", devices).stdout.split())

    def host() -> set[str]:
        lines = Path("/proc/net/dev").read_text().splitlines()[2:]
        return {name for line in lines if not (name := line.split(":")[0].strip()).startswith("nbc-")}

    assert seen("--network", "none") == {"lo"}
    before = host()
    assert seen("--network", "host") >= before & host()  # others may come and go meanwhile
    assert {"lo"} < seen() <= {"lo", "eth0"} or not hosts.probe().allows("container networks")


def test_process_limits_hold(store: Path) -> None:
    """A fork bomb ends at its limit, and this host lives."""
    script = """
import os, time
for count in range(100):
    try:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
    except OSError:
        break
print(count)
"""
    done = nbc(store, "run", "--rm", "--pids-limit", "20", "toolbox", "python3", "-c", script)
    assert int(done.stdout) <= 20


def test_an_image_goes_to_an_archive_and_back(store: Path, tmp_path: Path) -> None:
    """save, rmi, load: the same image ID, and the name is back."""
    (tmp_path / "Dockerfile").write_text("FROM toolbox\nRUN echo hi > /hi\nLABEL a=b\n")
    identifier = nbc(store, "build", "-q", "-t", "kept", str(tmp_path)).stdout.strip()
    nbc(store, "save", "-o", str(tmp_path / "kept.tar"), "kept")
    assert "Untagged: kept:latest" in nbc(store, "rmi", "kept").stdout
    nbc(store, "inspect", "kept", code=1)
    assert "kept:latest" in nbc(store, "load", "-i", str(tmp_path / "kept.tar")).stdout
    assert json.loads(nbc(store, "inspect", "kept").stdout)[0]["Id"] == identifier
    assert nbc(store, "run", "--rm", "kept", "cat", "/hi").stdout == "hi\n"


def test_a_build_that_fails_names_the_line_and_tags_nothing(store: Path, tmp_path: Path) -> None:
    """The failing step's output is shown, and the code is 1."""
    (tmp_path / "Dockerfile").write_text("FROM toolbox\nRUN true\nRUN echo to-be-seen; exit 3\n")
    done = nbc(store, "build", "-t", "broken", str(tmp_path), code=1)
    assert "to-be-seen" in done.stderr
    assert "line 3" in done.stderr
    assert "exit code 3" in done.stderr or "code: 3" in done.stderr or "3" in done.stderr
    nbc(store, "inspect", "broken", code=1)
