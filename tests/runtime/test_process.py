"""Containers from start to end: codes, streams, logs, signals, limits, and many at once."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import Conflict, LaunchError, NotFound
from nbcontainers.events import Event, Output
from nbcontainers.oci.resources import Resources
from nbcontainers.runtime import log
from nbcontainers.runtime import state as states
from nbcontainers.runtime.process import Runtime
from nbcontainers.runtime.running import logs
from tests.machine import IS_ADMIN
from tests.waiting import PATIENCE_S, until

from .conftest import Box, text


def test_an_id_is_a_host_name(box: Box) -> None:
    """Twelve digits that are all decimal are no name to gethostbyname(3). One of 280 is so by chance."""
    assert not [name for name in (box.runtime.new_id() for _ in range(10_000)) if name[:12].isdecimal()]


class TestExitCodes:
    """As Docker's."""

    @pytest.mark.parametrize("code", [0, 1, 125, 255])
    def test_a_commands_own_code(self, box: Box, code: int) -> None:
        """The command's exit code is the container's."""
        assert box.run("sh", "-c", f"exit {code}")[0] == code

    def test_a_signal_is_128_and_its_number(self, box: Box) -> None:
        """And the state says the same, to whoever reads it."""
        running = box.start("sleep", "600")
        running.signal(signal.SIGKILL)
        assert running.wait() == 137
        found = states.load_state(running.folder)
        assert (found.status, found.exit_code, found.pid, found.out_of_memory) == ("exited", 137, 0, False)
        assert found.created <= found.started <= found.finished

    def test_waiting_has_an_end(self, box: Box) -> None:
        """A timeout is a TimeoutError, and waiting again is possible, for others too."""
        running = box.start("sleep", "600")
        with pytest.raises(TimeoutError):
            running.wait(0.05)
        other = box.runtime.open(running.folder)
        with pytest.raises(TimeoutError):
            other.wait(0.05)
        running.signal(signal.SIGKILL)
        assert (running.wait(PATIENCE_S), running.wait(PATIENCE_S), other.wait(PATIENCE_S)) == (137, 137, 137)

    def test_a_container_that_never_ran_cannot_be_waited_for(self, box: Box) -> None:
        """It is a Conflict; one that is not there at all is NotFound."""
        folder, _ = box.prepare()
        states.save_state(folder, box.state(folder, ("true",)))
        for act in (box.runtime.open(folder).wait, lambda: box.runtime.open(folder).signal(9)):
            with pytest.raises(Conflict):
                act()
        with pytest.raises(NotFound):
            box.runtime.open(folder / "none").wait()


class TestState:
    """state.json tells the truth at every moment."""

    def test_it_is_there_before_the_start_returns(self, box: Box) -> None:
        """Running, with the pid that the host knows."""
        running = box.start("sleep", "600")
        found = states.load_state(running.folder)
        assert (found.status, found.tier, found.detached) == ("running", box.host.tier, False)
        assert Path(f"/proc/{found.pid}/cmdline").read_bytes() == b"sleep\x00600\x00"
        assert (found.lacks, found.not_enforced) == (box.host.notes(), ())

    def test_limits_that_nobody_enforces_are_named(self, box: Box) -> None:
        """Each limit without a controller stands in the state, in plain words."""
        wanted = Resources(memory=64 << 20, pids=10, cpu_quota=50_000, cpu_period=100_000, cpuset_cpus="0")
        running = box.start("true", resources=wanted)
        running.wait()
        named = " ".join(states.load_state(running.folder).not_enforced)
        for controller, words in (
            ("memory", "memory is watched"),
            ("pids", "RLIMIT_NPROC"),
            ("cpu", "cpu is not limited"),
            ("cpuset", "sched_setaffinity"),
        ):
            assert (words in named) == (controller not in box.host.hierarchy.controllers)


class TestStreams:
    """What a container writes and reads."""

    def test_both_streams_are_told_apart(self, box: Box) -> None:
        """stdout and stderr, complete."""
        assert box.run("sh", "-c", "echo out; echo err >&2") == (0, "out\n", "err\n")

    def test_nothing_is_lost_however_late_one_attaches(self, box: Box) -> None:
        """Output of a container that has long ended is there for who started it."""
        running = box.start("sh", "-c", "echo one; echo two")
        assert running.wait() == 0
        time.sleep(0.05)
        events: list[Event] = []
        assert running.attach(events.append) == 0
        assert text(events, "stdout") == "one\ntwo\n"

    def test_a_container_never_waits_for_its_reader(self, box: Box) -> None:
        """Far more output than sockets hold: the container ends by itself, and everything is there afterwards."""
        running = box.start("sh", "-c", "seq 1 300000; echo end >&2")
        assert running.wait(PATIENCE_S) == 0
        events: list[Event] = []
        running.attach(events.append)
        wanted = "".join(f"{number}\n" for number in range(1, 300_001))
        assert text(events, "stdout") == wanted
        assert text(events, "stderr") == "end\n"
        assert b"".join(entry.data for entry in logs(running.folder) if entry.stream == "stdout").decode() == wanted

    def test_a_slow_reader_gets_everything(self, box: Box) -> None:
        """Who reads slowly is served from the log, in order, without a gap and without a repetition."""
        running = box.start("sh", "-c", "seq 1 200000")
        received: list[bytes] = []

        def slowly(event: Event) -> None:
            assert isinstance(event, Output)
            received.append(event.data)
            if len(received) < 20:
                time.sleep(0.01)

        assert running.attach(slowly) == 0
        assert b"".join(received) == b"".join(b"%d\n" % number for number in range(1, 200_001))

    def test_bytes_come_as_they_were(self, box: Box, tmp_path: Path) -> None:
        """Binary output is neither decoded nor cut."""
        data = os.urandom(300_000)
        code, out, _ = 0, b"", b""
        running = box.start("cat", stdin=True)
        events: list[Event] = []
        assert running.attach(events.append, io.BytesIO(data)) == 0
        assert b"".join(event.data for event in events if isinstance(event, Output)) == data
        assert b"".join(entry.data for entry in logs(running.folder)) == data
        assert (code, out) == (0, b"")

    def test_input_has_an_end(self, box: Box) -> None:
        """The end of the input reaches the program, which may write after it."""
        code, out, _ = box.run("sh", "-c", "wc -c; echo after", stdin_bytes=b"x" * 100_000)
        assert (code, out.split()) == (0, ["100000", "after"])

    def test_input_from_a_descriptor(self, box: Box) -> None:
        """A pipe or terminal is read as its bytes come."""
        read, write = os.pipe()
        running = box.start("sh", "-c", "while read line; do echo got $line; done", stdin=True)
        received: list[bytes] = []

        def answer(event: Event) -> None:
            assert isinstance(event, Output)
            received.append(event.data)
            if b"".join(received) == b"got first\n":
                os.write(write, b"second\n")
                os.close(write)

        os.write(write, b"first\n")
        assert running.attach(answer, read) == 0
        os.close(read)
        assert b"".join(received) == b"got first\ngot second\n"

    def test_input_that_nobody_reads_is_no_deadlock(self, box: Box) -> None:
        """A program that ignores its input, and writes much meanwhile, runs to its end."""
        code, out, _ = box.run("sh", "-c", "seq 1 100000; echo done", stdin_bytes=b"y\n" * 1_000_000)
        assert code == 0
        assert out.endswith("100000\ndone\n")

    def test_without_input_there_is_none(self, box: Box) -> None:
        """Reading ends at once."""
        assert box.run("cat") == (0, "", "")

    def test_an_observer_that_raises_stops_attaching_only(self, box: Box) -> None:
        """The exception comes through, the container runs on, and attaching again goes on where it was."""
        running = box.start("sh", "-c", "echo one; sleep 0.2; echo two")

        def refuse(event: Event) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            running.attach(refuse)
        assert states.load_state(running.folder).status == "running"
        events: list[Event] = []
        assert running.attach(events.append) == 0
        assert text(events, "stdout") == "two\n"

    def test_the_log_is_dockers(self, box: Box) -> None:
        """One JSON object per line, with times; ``logs`` reads it back, with times."""
        running = box.start("sh", "-c", "echo out; sleep 0.05; echo err >&2; sleep 0.05; printf unfinished")
        assert running.wait() == 0
        lines = [json.loads(line) for line in (running.folder / "log").read_text().splitlines()]
        assert [(line["stream"], line["log"]) for line in lines][:2] == [("stdout", "out\n"), ("stderr", "err\n")]
        found = list(logs(running.folder))
        assert [entry.data for entry in found] == [b"out\n", b"err\n", b"unfinished"]
        assert running.state.started - 1 < (found[0].time or 0) < (found[1].time or 0) < time.time()


class TestDetached:
    """Containers that outlive who started them."""

    def test_it_outlives_its_engine(self, box: Box, run_dir: Path) -> None:
        """After the Runtime is closed it runs on, its log holds everything, and another engine finds it."""
        script = "echo begin; while [ ! -e /stop ]; do sleep 0.02; done; echo end; exit 3"
        folder, rootfs = box.prepare()
        with Runtime(run_dir, box.host) as first:
            first.start(folder, box.spec("sh", "-c", script), rootfs, state=box.state(folder, ("sh",)), detach=True)
            zygote = first.zygote_pid()
        assert not os.path.exists(f"/proc/{zygote}")
        other = box.runtime.open(folder)
        assert other.state.status == "running"
        assert other.state.detached
        events: list[Event] = []
        thread = threading.Thread(target=other.attach, args=(events.append,), kwargs={"from_begin": True})
        thread.start()
        until(lambda: text(events, "stdout") == "begin\n")
        root = f"/proc/{other.state.pid}/root"
        Path(root, "stop").touch()
        assert other.wait(PATIENCE_S) == 3
        thread.join(PATIENCE_S)
        assert text(events, "stdout") == "begin\nend\n"
        assert b"".join(entry.data for entry in logs(folder)) == b"begin\nend\n"

    def test_several_can_attach(self, box: Box) -> None:
        """Who asks for all gets all, who does not gets what comes; input from one reaches the container."""
        running = box.start("sh", "-c", "echo before; read line; echo got $line", stdin=True, detach=True)
        until(lambda: (running.folder / "log").stat().st_size)
        everything: list[Event] = []
        later: list[Event] = []
        watcher = threading.Thread(target=running.attach, args=(everything.append,), kwargs={"from_begin": True})
        watcher.start()
        until(lambda: text(everything, "stdout") == "before\n")
        assert box.runtime.open(running.folder).attach(later.append, io.BytesIO(b"hello\n")) == 0
        watcher.join(PATIENCE_S)
        assert text(everything, "stdout") == "before\ngot hello\n"
        assert text(later, "stdout") == "got hello\n"

    def test_the_socket_is_private(self, box: Box) -> None:
        """0600 in a folder that is 0700, with a path that fits; gone with the container."""
        running = box.start("sleep", "600", detach=True)
        path = states.load_extra(running.folder)["socket"]
        until(lambda: os.path.exists(path))
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        assert len(os.fsencode(path)) < 108
        running.signal(9)
        running.wait(PATIENCE_S)
        until(lambda: not os.path.exists(path))

    def test_a_client_that_does_not_speak_the_protocol_harms_nobody(self, box: Box) -> None:
        """It is dropped, and the container and others go on."""
        running = box.start("sh", "-c", "read line; echo got $line", stdin=True, detach=True)
        path = states.load_extra(running.folder)["socket"]
        until(lambda: os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.settimeout(PATIENCE_S)
            assert client.recv(100) == b""
        events: list[Event] = []
        assert running.attach(events.append, io.BytesIO(b"me\n")) == 0
        assert text(events, "stdout") == "got me\n"

    def test_attaching_to_what_has_ended_is_a_conflict(self, box: Box) -> None:
        """It does not run, says the error."""
        running = box.start("true", detach=True)
        assert running.wait(PATIENCE_S) == 0
        with pytest.raises(Conflict, match="not running"):
            running.attach(lambda event: None)


class TestSignals:
    """stop, kill, and no other process."""

    def test_stop_asks_first(self, box: Box) -> None:
        """A program that handles SIGTERM ends as it likes."""
        running = box.start("sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.02; done")
        until(lambda: (running.folder / "log").stat().st_size)
        assert running.stop(PATIENCE_S) == 7

    def test_stop_insists(self, box: Box) -> None:
        """The first process of a container ignores what it does not handle: it is killed after the timeout."""
        running = box.start("sleep", "600")
        began = time.monotonic()
        assert running.stop(timeout=0.2) == 137
        assert 0.2 <= time.monotonic() - began < 300, "long before it would have ended by itself"
        assert running.stop() == 137

    def test_another_process_with_the_pid_is_not_hit(self, box: Box) -> None:
        """A state whose pid is somebody else's by now is repaired, and nobody is signalled."""
        running = box.start("true")
        running.wait()
        import subprocess

        # A process is known by its pid and its start, in ticks of 10 ms: no pid comes round in one of those, but here it would.
        time.sleep(0.03)
        victim = subprocess.Popen(["sleep", "600"])
        try:
            path = running.folder / "state.json"
            data = json.loads(path.read_text())
            data.update(status="running", pid=victim.pid)
            data["runtime"]["shim"] = victim.pid
            path.write_text(json.dumps(data))
            with pytest.raises(Conflict, match="not running"):
                box.runtime.open(running.folder).signal(signal.SIGKILL)
            assert victim.poll() is None
            found = states.load_state(running.folder)
            assert (found.status, found.exit_code, found.pid) == ("exited", 137, 0)
        finally:
            victim.kill()
            victim.wait()


class TestLimits:
    """Memory and processor time; see test_init for processes."""

    HOG = "dd if=/dev/zero of=/dev/null bs=200M count=20000"  # it holds on to the memory for whoever only watches it

    def test_running_out_of_memory_is_told(self, box: Box) -> None:
        """The container is ended with 137, and the state says that memory ran out, not only that it was killed."""
        running = box.start("sh", "-c", f"{self.HOG}; sleep 0.5", resources=Resources(memory=32 << 20))
        events: list[Event] = []
        code = running.attach(events.append)
        found = states.load_state(running.folder)
        assert found.out_of_memory, (code, events)
        other = box.start("sh", "-c", "kill -9 $$")
        other.wait()
        assert not states.load_state(other.folder).out_of_memory

    def test_the_main_process_out_of_memory_is_137(self, box: Box) -> None:
        """As ``dd`` itself is the container's command."""
        running = box.start(*self.HOG.split(), resources=Resources(memory=32 << 20))
        assert running.wait(PATIENCE_S) == 137
        assert running.state.out_of_memory

    def test_usage_is_measured(self, box: Box) -> None:
        """Memory, processes and processor time, with the limits; and who counted."""
        limits = Resources(memory=256 << 20, pids=50)
        running = box.start("sh", "-c", "sleep 600 & while :; do :; done", resources=limits)
        meter = running.meter()
        until(lambda: meter.sample().processes == 2)
        first = meter.sample()
        until(lambda: meter.sample().cpu_seconds > first.cpu_seconds)
        meter.close()
        assert first.memory > 0
        assert first.processes == 2
        assert (first.memory_limit, first.processes_limit) == (256 << 20, 50)
        has_cgroup = bool(box.host.hierarchy.parents)
        assert first.source.startswith("cgroup" if has_cgroup else "process tree")
        running.signal(9)
        running.wait()
        with pytest.raises(Conflict):
            running.usage()


class TestMany:
    """Threads, and what one of them does to the others."""

    def test_threads_start_containers_at_once(self, box: Box) -> None:
        """Twenty at once each get their own output and code."""
        results: dict[int, tuple[int, str, str]] = {}

        def work(number: int) -> None:
            results[number] = box.run("sh", "-c", f"echo {number}; exit {number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert results == {number: (number, f"{number}\n", "") for number in range(20)}

    def test_nothing_is_left_open(self, box: Box) -> None:
        """After a hundred ends an engine has no more descriptors than before, and no more processes."""
        box.run("true")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            running = box.start("true")
            running.wait()
            running.close()
        with pytest.raises(LaunchError):
            box.start("nope")
        assert len(os.listdir("/proc/self/fd")) <= before

    def test_closing_ends_what_runs_in_the_foreground(self, box: Box, run_dir: Path) -> None:
        """A closed Runtime leaves no container of the foreground and no zygote."""
        folder, rootfs = box.prepare()
        with Runtime(run_dir, box.host) as runtime:
            running = runtime.start(folder, box.spec("sleep", "600"), rootfs, state=box.state(folder, ("sleep",)))
            pid = running.state.pid
        assert not os.path.exists(f"/proc/{pid}")
        found = states.load_state(folder)
        assert (found.status, found.exit_code) == ("exited", 137)
        assert "engine" in found.error


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Raise KeyboardInterrupt where the engine waits for a start."""

    def arrange() -> None:
        from nbcontainers.runtime import process

        def interrupt(*_: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(process, "_await_exec", interrupt)

    return arrange


@pytest.mark.parametrize("detach", [False, True])
def test_an_interrupt_while_starting_leaves_nothing(box: Box, interrupted: Callable[[], None], detach: bool) -> None:
    """No process and no cgroup is left of a container whose start was interrupted; the state says that it is not running."""
    box.run("true")
    interrupted()
    folder, rootfs = box.prepare()
    with pytest.raises(KeyboardInterrupt):
        box.runtime.start(folder, box.spec("sleep", "4321"), rootfs, state=box.state(folder, ("sleep",)), detach=detach)
    assert states.load_state(folder).status in {"exited", "created"}
    until(lambda: not box.host.hierarchy.directories(folder.name))


def test_a_container_can_be_started_again(box: Box) -> None:
    """It finds the files that it left, its log goes on, and attaching tells only of this run."""
    folder, rootfs = box.prepare()
    spec = box.spec("sh", "-c", "echo run >> /runs; cat /runs")
    for number in (1, 2, 3):
        running = box.runtime.start(folder, spec, rootfs, state=box.state(folder, ("sh",)))
        events: list[Event] = []
        assert running.attach(events.append) == 0
        assert text(events, "stdout") == "run\n" * number
        running.close()
    assert b"".join(entry.data for entry in logs(folder)) == b"run\n" * 6


def test_a_container_cannot_be_started_twice(box: Box) -> None:
    """While it runs a second start fails, after a few seconds' patience, and harms neither it nor its state."""
    folder, rootfs = box.prepare()
    running = box.runtime.start(folder, box.spec("sleep", "600"), rootfs, state=box.state(folder, ("sleep",)))
    before = running.state
    with pytest.raises(LaunchError, match="runs already"):
        box.runtime.start(folder, box.spec("true"), rootfs, state=box.state(folder, ("true",)))
    assert running.state == before
    running.signal(signal.SIGKILL)
    assert running.wait(PATIENCE_S) == 137
    running.close()


def test_a_full_disk_stops_the_log_and_not_the_container(box: Box, tmp_path: Path) -> None:
    """What does not fit in the log is told to who is attached, and the state says that the log is not whole."""
    if not IS_ADMIN:
        pytest.skip("a file system of a chosen size needs root with CAP_SYS_ADMIN")
    import shutil
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        _, rootfs = box.prepare()
        folder = small / "c1"
        folder.mkdir()
        running = box.runtime.start(folder, box.spec("seq", "1", "60000"), rootfs, state=box.state(folder, ("seq",)))
        events: list[Event] = []
        # By then it has written more than a socket holds, and than the disk: a reader on a busy machine is that slow.
        time.sleep(1)
        assert running.attach(events.append) == 0
        assert text(events, "stdout") == "".join(f"{number}\n" for number in range(1, 60001))
        running.close()
        assert "not whole" in states.load_state(folder).error
        assert all(log.parse(line) for line in (folder / "log").read_bytes().splitlines(keepends=True))
        shutil.rmtree(folder)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# What exec takes, what comes before it once there is a policy, and what a static program does.
_LEAST = (
    "prctl setgroups setresgid setresuid capset chdir getcwd umask read poll write newfstatat stat access faccessat faccessat2 execve "
    "close exit exit_group brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect mmap "
    "munmap getuid rt_sigaction rt_sigprocmask rt_sigreturn"
).split()


def test_a_policy_that_knows_little_lets_a_command_begin(box: Box) -> None:
    """One that kills for every call which is not needed for it: what else is done before exec is done before there is a policy."""
    policy = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": _LEAST, "action": "SCMP_ACT_ALLOW"}],
    }
    started = box.start("true", spec=replace(box.spec("true"), seccomp=policy))
    assert started.wait(PATIENCE_S) == 0


def test_a_policy_that_kills_for_what_the_start_needs_is_told(box: Box) -> None:
    """Else nobody would know by what a command was ended that has never run."""
    policy = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["exit_group"], "action": "SCMP_ACT_ALLOW"}],
    }
    with pytest.raises(LaunchError, match="status 159") as caught:
        box.start("true", spec=replace(box.spec("true"), seccomp=policy))
    assert caught.value.hint.startswith("its policy of system calls kills for one that the start needs")
