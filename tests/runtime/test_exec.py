"""Further commands in a container that runs: where they are, what they hold, how they end."""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import Conflict, Detached, LaunchError
from nbcontainers.events import Event
from nbcontainers.oci.resources import Resources
from nbcontainers.runtime import enter, processes
from nbcontainers.runtime import state as states
from nbcontainers.runtime.execution import Execution
from nbcontainers.runtime.running import Running, logs
from tests.waiting import PATIENCE_S, until

from .conftest import Box, text


def wish(*args: str, **words: Any) -> dict[str, Any]:
    """What an engine asks for."""
    made: dict[str, Any] = {
        "do": "exec",
        "id": "0" * 64,
        "args": [word.encode() for word in args],
        "env": {},
        "cwd": "",
        "user": "",
        "capabilities": -1,
        "terminal": [],
        "detach": False,
    }
    return {**made, **words}


def run(running: Running, *args: str, stdin: bytes | None = None, **words: Any) -> tuple[int, str, str]:
    """(exit code, output, errors) of a command."""
    events: list[Event] = []
    execution = running.exec(wish(*args, **words), stdin=stdin is not None)
    code = execution.attach(events.append, stdin=None if stdin is None else io.BytesIO(stdin))
    return code, text(events, "stdout"), text(events, "stderr")


@pytest.fixture
def running(box: Box) -> Running:
    """A container that waits."""
    return box.start("sh", "-c", "trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.1; done", env=("A=outer",))


def test_it_is_in_every_namespace_of_the_container(running: Running) -> None:
    """The same namespaces, root, host name and processes as process 1."""
    script = "for n in mnt pid net ipc uts cgroup user; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] && echo $n; done"
    code, out, err = run(running, "sh", "-c", script)
    assert (code, out.split(), err) == (0, ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"], "")


def test_it_holds_what_the_container_holds(box: Box, running: Running) -> None:
    """Capabilities, system call policy, no_new_privs and limits of process 1, and no descriptor but the three."""
    keys = "grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/{}/status"
    assert run(running, "sh", "-c", keys.format("self"))[1] == run(running, "sh", "-c", keys.format(1))[1]
    limits = "cat /proc/{}/limits"
    assert run(running, "sh", "-c", limits.format("self"))[1] == run(running, "sh", "-c", limits.format(1))[1]
    assert run(running, "ls", "/proc/self/fd")[1].split() == ["0", "1", "2", "3"]  # 3 is the folder itself
    groups = "cat /proc/{}/cgroup"
    assert run(running, "sh", "-c", groups.format("self"))[1] == run(running, "sh", "-c", groups.format(1))[1]
    pid = states.load_state(running.folder).pid
    execution = running.exec(wish("sleep", "600"), stdin=False)
    assert Path(f"/proc/{execution.pid}/cgroup").read_text() == Path(f"/proc/{pid}/cgroup").read_text()
    execution.close()


def test_its_words(running: Running) -> None:
    """Its own variables over the container's, its folder, its user, and what it reads."""
    words: dict[str, Any] = {"env": {b"B": b"inner"}, "cwd": "/tmp"}
    code, out, err = run(running, "sh", "-c", "echo $A $B $PWD; cat; echo no >&2; exit 5", stdin=b"typed", **words)
    assert (code, out, err) == (5, "outer inner /tmp\ntyped", "no\n")


def test_another_user(box: Box, running: Running) -> None:
    """A name is looked up inside; whoever is not root holds nothing."""
    if box.host.has_single_id:
        pytest.skip("this tier maps root only")
    code, out, _ = run(running, "sh", "-c", "id -u; id -g; echo $HOME; grep CapEff /proc/self/status", user="ann")
    assert (code, out.split()) == (0, ["1000", "100", "/home/ann", "CapEff:", "0000000000000000"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ({"args": [b"no-such"]}, 127, "not found"),
        ({"args": [b"/etc/passwd"]}, 126, "permission denied"),
        ({"args": [b"true"], "user": "nobody-here"}, 126, "unable to find user"),
        ({"args": [b"true"], "cwd": "/not/there"}, 127, "working directory"),
    ],
)
def test_a_command_that_cannot_be_run(running: Running, words: dict[str, Any], code: int, said: str) -> None:
    """Docker's 126 and 127, and why; nothing of it is left."""
    with pytest.raises(LaunchError, match=said) as caught:
        running.exec(wish(**words), stdin=False)
    assert caught.value.exit_code == code
    assert bool(caught.value.hint) == (caught.value.stage == "exec" and "user" not in words)
    pid = states.load_state(running.folder).pid
    until(lambda: len(list(processes.tree(pid))) <= 2)


def test_a_signal_is_told_from_an_exit_code(running: Running) -> None:
    """128 and the signal's number."""
    assert run(running, "sh", "-c", "kill -TERM $$")[0] == 143
    execution = running.exec(wish("sleep", "600"), stdin=False)
    execution.signal(2)
    assert execution.wait(PATIENCE_S) == 130


def test_it_dies_with_its_caller(running: Running) -> None:
    """What nobody waits for any more is ended, with what it started in its session."""
    execution = running.exec(wish("sh", "-c", "sleep 77 & sleep 77"), stdin=False)
    pid = execution.pid
    assert processes.start_time(pid)
    execution.close()
    until(lambda: not processes.start_time(pid))
    until(lambda: "sleep 77" not in run(running, "ps")[1])


def test_it_dies_with_an_engine_that_is_killed(box: Box, running: Running) -> None:
    """kill -9 of the process that asked is the end of what it asked for."""
    script = f"""
        import sys, time
        from nbcontainers.runtime.execution import Execution
        execution = Execution(sys.argv[1], {wish("sleep", "66")!r}, stdin=False)
        print(execution.pid, flush=True)
        time.sleep(60)
    """
    path = states.load_extra(running.folder)["socket"]
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", textwrap.dedent(script), path]
    engine = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root})
    assert engine.stdout is not None
    with engine.stdout:
        pid = int(engine.stdout.readline())
        engine.kill()
        engine.wait()
    until(lambda: not processes.start_time(pid))
    assert not running.is_over()


def test_it_outlives_its_caller_when_detached(running: Running) -> None:
    """And its output goes to the container's own /dev/null."""
    execution = running.exec(wish("sh", "-c", "echo lost; sleep 0.3; touch /tmp/done", detach=True), stdin=False)
    execution.close()
    until(lambda: run(running, "test", "-e", "/tmp/done")[0] == 0)


def test_it_dies_with_its_container(running: Running) -> None:
    """Nothing of the container goes on in a command that was entered."""
    execution = running.exec(wish("sleep", "600"), stdin=False)
    assert running.stop(PATIENCE_S) == 0
    assert execution.wait(PATIENCE_S) == 137
    assert not processes.start_time(execution.pid)


def test_a_container_that_does_not_run(box: Box) -> None:
    """It is a conflict, and says so."""
    running = box.start("true")
    running.wait()
    with pytest.raises(Conflict, match="not running"):
        running.exec(wish("true"), stdin=False)


def test_much_output_and_input(running: Running) -> None:
    """A megabyte goes in and comes out, whole and in order."""
    data = bytes(range(256)) * 4096
    parts: list[bytes] = []
    execution = running.exec(wish("cat"), stdin=True)
    assert execution.attach(lambda event: parts.append(event.data), stdin=io.BytesIO(data)) == 0  # type: ignore[union-attr]
    assert b"".join(parts) == data


def test_many_at_once(running: Running) -> None:
    """Each has its own exit code."""
    executions = [running.exec(wish("sh", "-c", f"sleep 0.2; exit {code}"), stdin=False) for code in range(20)]
    assert [execution.wait(PATIENCE_S) for execution in executions] == list(range(20))


def test_a_command_that_is_killed_before_it_runs_harms_no_other(box: Box) -> None:
    """Whoever kills all that he sees inside meets commands on their way in, too: the container and its shim go on."""
    killer = box.start("sh", "-c", "while :; do kill -9 -1; done")

    def enter(number: int) -> int:
        try:
            return killer.exec(wish("sh", "-c", "exit 0"), stdin=False).wait(PATIENCE_S)
        except LaunchError:
            return -1

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(enter, range(60)))
    assert -1 in codes
    assert not killer.is_over()
    assert killer.stop(0) == 137
    assert killer.state.error == ""


def test_a_container_that_ends_while_it_is_entered_ends_as_it_wanted(box: Box) -> None:
    """With its own exit code, however many come in just then; they hear that it ended, if they were not killed with it."""
    for _ in range(4):
        ending = box.start("sh", "-c", "trap 'exit 7' TERM; echo; while :; do sleep 0.02; done")
        until(lambda ending=ending: list(logs(ending.folder)))

        def enter(_: int, ending: Running = ending) -> None:
            with contextlib.suppress(Conflict):
                while True:
                    try:
                        ending.exec(wish("true"), stdin=False).wait(PATIENCE_S)
                    except LaunchError as error:
                        if "before it ran" not in str(error):
                            raise

        with ThreadPoolExecutor(8) as pool:
            entering = pool.map(enter, range(8))
            ending.signal(15)
            assert ending.wait(PATIENCE_S) == 7
            list(entering)
        assert ending.state.error == ""


def test_no_namespace_of_a_process_that_has_ended_is_entered() -> None:
    """What is not waited for yet still has its number, but no namespaces: it is told, not taken for one that lives in ours."""
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            enter.namespaces(child.pid)
    finally:
        child.wait()
    assert enter.namespaces(os.getpid()) == 0


def test_a_terminal(running: Running) -> None:
    """A terminal of the container's own, of a size that can change; standard error is the terminal too."""
    events: list[Event] = []
    script = "tty; stty size; echo error >&2; read go; stty size"
    execution = running.exec(wish("sh", "-c", script, terminal=[33, 99]), stdin=False)

    def observe(event: Event) -> None:
        events.append(event)
        if "error\r\n" in text(events, "stdout") and "go" not in text(events, "stdout"):
            execution.resize(44, 111)
            os.write(execution._terminal, b"go\n")

    assert execution.attach(observe) == 0
    assert text(events, "stdout").split() == ["/dev/pts/0", "33", "99", "error", "go", "44", "111"]


def test_the_keys_let_go(running: Running) -> None:
    """The command goes on, and its terminal does not hang up."""
    execution = running.exec(
        wish("sh", "-c", "read line; sleep 0.2; touch /tmp/went-on", terminal=[24, 80]), stdin=False
    )
    with pytest.raises(Detached):
        execution.attach(stdin=io.BytesIO(b"a line\n\x10\x11"), detach_keys="ctrl-p,ctrl-q")
    until(lambda: run(running, "test", "-e", "/tmp/went-on")[0] == 0)


def test_a_process_inside_cannot_look_at_one_that_enters(box: Box, running: Running) -> None:
    """Until it has executed it is not dumpable: its memory, descriptors and executable are closed (CVE-2019-5736)."""
    spy = """
        cd /proc
        n=0
        while [ ! -e /tmp/stop ]; do
          for p in [0-9]*; do
            [ $p = 1 ] || [ $p = $$ ] && continue
            case "$(readlink $p/exe)" in *python*|*memfd*) echo seen $p;; esac
            for d in 200 201 202; do readlink $p/fd/$d && echo descriptor $d of $p; done
          done
        done
    """
    watch = running.exec(wish("sh", "-c", spy), stdin=False)
    for _ in range(10):
        assert run(running, "true")[0] == 0
    run(running, "touch", "/tmp/stop")
    events: list[Event] = []
    watch.attach(events.append)
    assert text(events, "stdout") == ""


def test_a_command_that_is_over_before_its_engine_looks(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shim has hung up by then; the answers are there all the same."""

    def send(connection: socket.socket, *words: Any) -> int:
        sent = send_fds(connection, *words)
        poll = select.poll()
        poll.register(connection, select.POLLHUP)
        assert poll.poll(PATIENCE_S * 1000)
        return sent

    send_fds = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", send)
    assert run(running, "echo", "quick") == (0, "quick\n", "")


def test_the_working_directory_lies_inside(box: Box, running: Running) -> None:
    """A link of the container to a descriptor of ours leads nowhere (CVE-2024-21626)."""
    for number in (3, 7, 200, 201, 202):
        with pytest.raises(LaunchError):
            running.exec(wish("pwd", cwd=f"/proc/self/fd/{number}"), stdin=False)


def test_an_execution_is_let_go_of_when_it_is_forgotten(running: Running) -> None:
    """Nothing stays open of one that nobody holds."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        running.exec(wish("sleep", "600"), stdin=True)
    until(lambda: len(os.listdir("/proc/self/fd")) == before)
    assert isinstance(running.exec(wish("true"), stdin=False), Execution)


def test_memory_that_is_watched_counts_what_was_entered(box: Box) -> None:
    """Where no cgroup counts, a command that is entered is no way around the container's limit."""
    if "memory" in box.host.hierarchy.controllers:
        pytest.skip("a cgroup counts here")
    running = box.start("sleep", "600", resources=Resources(memory=64 << 20))
    hog = "head -c 200000000 /dev/zero | tail -c 190000000 | sleep 300"
    assert running.exec(wish("sh", "-c", hog), stdin=False).wait(PATIENCE_S) == 137
    assert running.wait(PATIENCE_S) == 137
    assert states.load_state(running.folder).out_of_memory


def test_what_was_entered_is_measured(box: Box, running: Running) -> None:
    """A command counts while it runs, with its memory, its threads and its time; its time counts when it is over, too."""
    meter = running.meter()
    before = meter.sample()
    spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    hold = "head -c 80000000 /dev/zero | tail -c 80000000 | sleep 600"
    with running.exec(wish("sh", "-c", f"{spin}; {hold}"), stdin=False):
        until(lambda: meter.sample().memory > before.memory + 70_000_000)
        during = meter.sample()
        assert during.processes > before.processes
        assert during.cpu_seconds > before.cpu_seconds + 0.05
    until(lambda: meter.sample().memory < during.memory - 60_000_000)
    assert meter.sample().cpu_seconds >= during.cpu_seconds
    meter.close()


def test_processors_are_those_that_were_asked_for(box: Box) -> None:
    """By a cgroup, or by what a process hands down: its command runs there, and what enters later; one too many is an error."""
    running = box.start("sleep", "600", resources=Resources(cpuset_cpus="0"))
    assert "Cpus_allowed_list:\t0\n" in Path(f"/proc/{states.load_state(running.folder).pid}/status").read_text()
    events: list[Event] = []
    running.exec(wish("grep", "Cpus_allowed_list", "/proc/self/status"), stdin=False).attach(events.append)
    assert text(events, "stdout") == "Cpus_allowed_list:\t0\n"
    with pytest.raises(LaunchError, match="4000"):
        box.start("true", resources=Resources(cpuset_cpus="4000"))


def test_a_container_that_may_have_no_further_process_says_so(box: Box) -> None:
    """Its limit is that of what is entered, too: who meets it hears which one it is."""
    full = box.start("sh", "-c", "sleep 600 & sleep 600 & echo; wait", resources=Resources(pids=3))
    until(lambda: list(logs(full.folder)))
    with pytest.raises(LaunchError, match="temporarily unavailable") as caught:
        full.exec(wish("true"), stdin=False)
    assert "--pids-limit" in caught.value.hint
