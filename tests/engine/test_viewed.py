"""Containers without namespaces (tier T4): PRoot shows their files, Landlock guards the host's. The tier is asked for, on any host."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Container, Engine
from nbcontainers.engine.options import RunOptions
from nbcontainers.errors import Conflict, HostError, LaunchError
from nbcontainers.events import Output
from nbcontainers.linux import landlock, starter
from nbcontainers.runtime import host, processes, tracees
from nbcontainers.runtime.host import TIER
from nbcontainers.runtime.state import load_extra
from tests.waiting import PATIENCE_S, until

Shell = Callable[..., str]
pytestmark = [
    pytest.mark.skipif(shutil.which("proot") is None, reason="needs proot"),
    pytest.mark.skipif(not starter.program(), reason="needs x86-64: what starts its programs is written for that"),
]
needs_landlock = pytest.mark.skipif(not landlock.version(), reason="needs Landlock")


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TIER, "T4")
        with Engine(module_path) as made:
            if not made._runtime.host.viewer:
                pytest.skip("needs a host on which PRoot may trace: " + made.host().summary)
            yield made
            for container in made.containers(all=True):
                container.remove(force=True)


@pytest.fixture
def goes_on(engine: Engine) -> Iterator[Container]:
    """One that counts, and writes down where it is."""
    script = "echo begun; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
    made = engine.run("toolbox", "sh", "-c", script, detach=True)
    next(iter(made.logs(follow=True)))
    yield made
    made.remove(force=True)


def alive(container: Container) -> list[int]:
    """The processes that run in its loader, the parents of commands among them."""
    extra = load_extra(container._folder)
    return [pid for pid, _ in tracees._found(extra["loader"], tracees.tracers(extra["shim"]))]


def said(container: Container) -> list[str]:
    return b"".join(output.data for output in container.logs()).decode().split()


def executed(container: Container, *command: str, tty: bool = False) -> tuple[int, str]:
    found: list[bytes] = []
    execution = container.exec(*command, tty=tty)
    code = execution.attach(lambda event: found.append(event.data) if isinstance(event, Output) else None)
    return code, b"".join(found).decode().strip()


def test_it_is_told_what_that_means(engine: Engine) -> None:
    """By the summary of the tier, by what is not enforced, and by what each container lacks."""
    report = engine.host()
    assert (report.tier, report.summary) == (
        "T4",
        "no user namespaces: containers run by PRoot and Landlock, which is no security boundary",
    )
    assert report.not_enforced[0].startswith("security boundary: none.")
    made = engine.create("toolbox", "true")
    assert made.state.lacks[0] == report.not_enforced[0]
    made.remove()


def test_a_volume_over_proc_is_refused(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """As elsewhere, but for the few files that may be replaced."""
    (tmp_path / "uptime").write_text("7 7\n")
    assert shell("cat /proc/uptime", volumes=[f"{tmp_path}/uptime:/proc/uptime"]) == "7 7\n"
    for place in ("/proc", "/proc/acpi"):
        with pytest.raises(LaunchError, match=f"mount {place}: "):
            engine.run("toolbox", "true", tmpfs=[place])
    for place, words in (
        ("/proc", "is not a proc file system"),
        ("/proc/self/attr", "of /proc only"),
        ("/proc/sys", "of /proc only"),
    ):
        with pytest.raises(LaunchError, match=words):
            engine.run("toolbox", "true", volumes=[f"{tmp_path}:{place}"])


def test_its_root_is_the_image(engine: Engine, shell: Shell) -> None:
    """Its files, its users, its variables and no others; what it writes is its own."""
    script = "ls -d /etc/passwd /var/tmp; test ! -e " + str(engine.store.root)
    assert shell(script).split() == ["/etc/passwd", "/var/tmp"]
    assert shell("id -u; pwd; echo $HOME").split() == ["0", "/", "/root"]
    for given in ({}, {"PWD": "/elsewhere"}):  # which PRoot sets to what it is
        made = engine.run("toolbox", "env", env=given, workdir="/usr")
        assert made.wait(PATIENCE_S) == 0
        names = {line.partition("=")[0] for line in said(made)}
        assert names == {"PATH", "HOSTNAME", "HOME", "LANG", *given}
        made.remove()
    assert shell("id -u; id -g; pwd", user="33:44", workdir="/made/here").split() == ["33", "44", "/made/here"]
    assert not os.path.exists("/made/here")


def test_devices_are_there_and_work(shell: Shell) -> None:
    """Those that each container has, and a folder for shared memory that is empty at each start."""
    script = "echo x >/dev/null; head -c 2 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; ls -A /dev/shm; echo y >/dev/shm/y; "
    assert shell(script + "echo z >/dev/stdout; cat /dev/shm/y").split() == ["2", "3", "z", "y"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("/no/such",), 127, "no such file or directory"),
        (("no-such",), 127, "executable file not found in \\$PATH"),
        (("/etc",), 126, "permission denied"),
        (("/etc/passwd",), 126, "permission denied"),
    ],
)
def test_what_cannot_be_executed_is_told_as_elsewhere(
    engine: Engine, goes_on: Container, command: tuple[str, ...], code: int, words: str
) -> None:
    """Docker's exit codes and the kernel's reason, of a container's own command and of a further one."""
    made = engine.create("toolbox", *command)
    with pytest.raises(LaunchError, match=words) as caught:
        made.start()
    assert caught.value.exit_code == code
    made.remove(force=True)
    with pytest.raises(LaunchError, match=words) as caught:
        goes_on.exec(*command)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)])
def test_exit_codes_are_the_commands(engine: Engine, goes_on: Container, script: str, code: int) -> None:
    """Whatever what it left behind ends with, and also after a signal: PRoot tells neither."""
    left = f"(setsid sleep 600 &); {script}"
    made = engine.run("toolbox", "sh", "-c", left)
    assert made.wait(PATIENCE_S) == code
    made.remove()
    assert executed(goes_on, "sh", "-c", script) == (code, "")


def test_input_and_terminals_reach_it(engine: Engine, goes_on: Container) -> None:
    """Standard input of a command, and a terminal that is its session's own."""
    made = engine.create("toolbox", "cat", interactive=True)
    made.start()
    found: list[bytes] = []
    made.attach(
        lambda event: found.append(event.data) if isinstance(event, Output) else None, stdin=io.BytesIO(b"in\n")
    )
    assert b"".join(found) == b"in\n"
    made.remove()
    script = "test -t 0 && echo hello >/dev/tty"
    terminal = engine.run("toolbox", "sh", "-c", script, tty=True)
    assert terminal.wait(PATIENCE_S) == 0
    assert said(terminal) == ["hello"]
    terminal.remove()
    assert executed(goes_on, "sh", "-c", script, tty=True) == (0, "hello")


def test_commands_are_beside_each_other(goes_on: Container) -> None:
    """What is entered may signal what runs, is listed with it, and is seen by stats."""
    pid = str(goes_on.state.pid)
    assert executed(goes_on, "kill", "-0", pid) == (0, "")
    goes_on.exec("sleep", "600", detach=True)
    assert [row[-1] for row in goes_on.top("-o", "pid,args").rows if "sleep 600" in row[-1]] == ["sleep 600"]
    usage = goes_on.usage()
    assert usage.processes >= 2
    if usage.source == "process tree":  # a cgroup counts those of ours that are beside them, too
        assert usage.processes <= 3  # the shell, its sleep or not, and the other


def test_nothing_is_left_of_it(engine: Engine) -> None:
    """After its end: not what left its session, its parent and its terminal, not what another command has started."""
    made = engine.run("toolbox", "sh", "-c", "(setsid sleep 600 &); echo begun; exec sleep 600", detach=True)
    next(iter(made.logs(follow=True)))
    executed(made, "sh", "-c", "(setsid sleep 600 &)")
    shim = load_extra(made._folder)["shim"]
    before = alive(made)
    assert len(before) >= 5
    made.stop(1)
    until(lambda: not processes.start_time(shim))
    assert not any(map(processes.start_time, before))
    made.remove()


def test_nothing_is_left_when_its_shim_is_killed(goes_on: Container) -> None:
    """Who starts its commands ends what nobody traces any more."""
    executed(goes_on, "sh", "-c", "(setsid sleep 600 &)")
    before = alive(goes_on)
    os.kill(load_extra(goes_on._folder)["shim"], signal.SIGKILL)
    until(lambda: not any(map(processes.start_time, before)))
    assert (goes_on.state.status, goes_on.state.exit_code, goes_on.state.pid) == ("exited", 137, 0)


def test_nothing_is_left_when_who_starts_its_commands_is_killed_too(goes_on: Container) -> None:
    """Whoever then reads its state ends what nobody traces any more."""
    for killed in (signal.SIGKILL, signal.SIGSTOP):  # a program inside could do either
        executed(goes_on, "sh", "-c", "(setsid sleep 600 &)")
        before, shim = alive(goes_on), load_extra(goes_on._folder)["shim"]
        family = [pid for pid in processes.tree(shim) if Path(f"/proc/{pid}/comm").read_text() == "nbc-keeper\n"]
        assert len(family) == 1
        os.kill(family[0], killed)
        os.kill(shim, signal.SIGKILL)
        until(lambda: goes_on.state.status == "exited")
        assert (goes_on.state.exit_code, goes_on.state.pid) == (137, 0)
        assert not any(map(processes.start_time, (*before, *family)))
        goes_on.start(detach=True)
        until(lambda: alive(goes_on))


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "shim killed"])
def test_who_gives_back_much_memory_is_waited_for(engine: Engine, is_killed: bool) -> None:
    """That takes the kernel a while, in which it does not tell any more what the process executes."""
    script = "x = b'x' * (1 << 30); print('begun', flush=True); import time; time.sleep(600)"
    made = engine.run("toolbox", "sh", "-c", f'python3 -c "{script}" & exec sleep 600', detach=True)
    next(iter(made.logs(follow=True)))
    extra, before = load_extra(made._folder), alive(made)
    if is_killed:
        os.kill(extra["keeper"][0], signal.SIGKILL)
        os.kill(extra["shim"], signal.SIGKILL)
        until(lambda: made.state.status == "exited")
    else:
        made.stop(0)
    assert not any(map(processes.start_time, before))
    made.remove()


def test_whom_a_killed_proot_had_only_forked_is_ended(goes_on: Container, tmp_path: Path) -> None:
    """It stands still until it is traced, has PRoot's words, and runs in nothing of the container's yet."""
    extra = load_extra(goes_on._folder)
    by_words = tracees._stranded(extra["loader"], ())
    assert [Path(f"/proc/{pid}/comm").read_text() for pid in by_words] == ["proot\n"]
    assert set(by_words) < set(tracees.tracers(extra["shim"]))
    assert tracees._stranded(extra["loader"], by_words) == []
    words = ["proot", "-c", "kill -STOP $$", "-b", f"{tmp_path}/start:/start!"]
    with subprocess.Popen(words, executable="/bin/sh") as left, contextlib.ExitStack() as last:
        last.callback(left.kill)
        until(lambda: "T (stopped)" in Path(f"/proc/{left.pid}/status").read_text())
        tracees.end(f"{tmp_path}/loader", ())
        assert left.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_missing_working_directory_is_made(engine: Engine, shell: Shell) -> None:
    """In a root that may not be written to, too."""
    assert shell("pwd; touch x", workdir="/made/here") == "/made/here\n"
    assert shell("pwd; touch x 2>/dev/null || true", workdir="/made/here", read_only=True) == "/made/here\n"
    with pytest.raises(LaunchError, match="working directory: Not a directory"):
        engine.run("toolbox", "true", workdir="/etc/passwd/x", read_only=True)


def test_a_parent_that_is_killed_takes_the_container_along(goes_on: Container) -> None:
    """It is a process of the container's, who may do that; the end is told all the same."""
    parent = int(Path(f"/proc/{goes_on.state.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert executed(goes_on, "kill", "-KILL", str(parent))[0] in {0, 137}
    assert goes_on.wait(PATIENCE_S) == 137


def test_it_can_be_stopped_where_it_stands(goes_on: Container) -> None:
    """Paused it does nothing; then it goes on, and while it is paused it can be killed."""
    goes_on.pause()
    before = len(said(goes_on))
    time.sleep(0.3)
    assert len(said(goes_on)) == before
    goes_on.unpause()
    until(lambda: len(said(goes_on)) > before)
    goes_on.pause()
    goes_on.kill()
    assert goes_on.wait(PATIENCE_S) == 137


def test_it_is_started_again_and_checked(engine: Engine) -> None:
    """By its restart policy, with what is in memory gone; and its health is known."""
    script = "ls -A /dev/shm /t; touch /dev/shm/a /t/a; echo run; exit 3"
    made = engine.run("toolbox", "sh", "-c", script, detach=True, restart="on-failure:2", tmpfs=["/t"])
    assert made.wait(PATIENCE_S) == 3
    assert said(made) == ["/dev/shm:", "/t:", "run"] * 3
    made.remove()
    words: RunOptions = {"health_cmd": "test -e /ready", "health_interval": "100ms"}
    made = engine.run("toolbox", "sh", "-c", "touch /ready; sleep 600", detach=True, **words)
    until(lambda: made.state.health is not None and made.state.health.status == "healthy")
    made.remove(force=True)


def test_a_folder_in_memory_has_what_is_mounted_in_it(shell: Shell, tmp_path: Path) -> None:
    """A folder and a file, at each run; nobody complains."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_text("inside\n")
    volumes = [f"{tmp_path}/in:/t/deep/in", f"{tmp_path}/in/file:/t/file"]
    assert shell("cat /t/deep/in/file /t/file; ls /t", tmpfs=["/t"], volumes=volumes) == "inside\ninside\ndeep\nfile\n"


def test_volumes_and_folders_are_shown(engine: Engine, shell: Shell, tmp_path: Path) -> None:
    """For writing or for reading only; a volume keeps what was written to it, and has what the image has there."""
    (tmp_path / "there").write_text("of this host\n")
    binds = [f"{tmp_path}:/shared", "kept:/etc"]
    assert shell("cat /shared/there; echo new >/shared/new; test -e /etc/passwd; echo v >/etc/v", volumes=binds) == (
        "of this host\n"
    )
    assert (tmp_path / "new").read_text() == "new\n"
    assert shell("cat /kept/v", volumes=["kept:/kept"]) == "v\n"
    engine.remove_volume("kept")


@needs_landlock
def test_what_is_read_only_cannot_be_written(engine: Engine, tmp_path: Path) -> None:
    """A folder, and the root; where a folder lies in one that may be written that is said instead."""
    (tmp_path / "inner").mkdir()
    script = "! touch /shown/x && ! touch /x && ! rm /etc/passwd && touch /t/x"
    options: RunOptions = {"volumes": [f"{tmp_path}:/shown:ro"], "read_only": True, "tmpfs": ["/t"]}
    made = engine.run("toolbox", "sh", "-c", script, **options)
    assert made.wait(PATIENCE_S) == 0, said(made)
    made.remove()
    made = engine.run("toolbox", "true", volumes=[f"{tmp_path}:/all", f"{tmp_path}/inner:/some:ro"])
    assert any(sentence.startswith("read-only /some:") for sentence in made.state.not_enforced)
    made.remove(force=True)


@needs_landlock
@pytest.mark.parametrize("tree", ["/proc/{}/root", "/proc/{}/cwd", "/proc/self/root/../../../..", "/../../.."])
def test_nothing_outside_can_be_opened(engine: Engine, goes_on: Container, tree: str, tmp_path: Path) -> None:
    """By no way around what PRoot shows: not for reading, not for writing."""
    (tmp_path / "secret").write_text("of this user\n")
    place = tree.format(os.getpid()) + str(tmp_path)
    script = (
        f"import sys\nfor mode in 'r', 'w':\n try: print(open('{place}/secret', mode).read())\n except OSError: pass"
    )
    assert executed(goes_on, "python3", "-c", script) == (0, "")
    assert executed(goes_on, "sh", "-c", f"echo x >{place}/new")[0] != 0
    assert sorted(os.listdir(tmp_path)) == ["secret"]
    assert (tmp_path / "secret").read_text() == "of this user\n"


@needs_landlock
def test_calls_that_proot_does_not_know_are_no_way_out(goes_on: Container, tmp_path: Path) -> None:
    """They are answered as by a kernel that does not have them: a path of this host's is not even looked for."""
    (tmp_path / "file").write_text("x")
    script = (
        "import ctypes, sys\ncall = ctypes.CDLL(None, use_errno=True).syscall\n"
        "for number in (332, 437, 439, 322):\n"
        " call(number, -100, sys.argv[1].encode(), 0, 0xfff, ctypes.create_string_buffer(512))\n print(ctypes.get_errno())"
    )
    assert executed(goes_on, "python3", "-c", script, str(tmp_path / "file")) == (0, "\n".join(["38"] * 4))


@pytest.mark.skipif(
    not landlock.keeps_signals(landlock.version()), reason="needs Landlock that keeps signals (Linux 6.12)"
)
def test_nobody_outside_can_be_signalled(goes_on: Container) -> None:
    """Not by its number, and not by a signal to all."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert executed(goes_on, "kill", "-KILL", str(bystander.pid))[0] != 0
        executed(goes_on, "sh", "-c", "kill -KILL -1")
        assert goes_on.wait(PATIENCE_S) == 137
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_without_a_network_there_are_no_sockets_but_unix_ones(engine: Engine, shell: Shell) -> None:
    """None of its programs can reach this host's, also where no policy of system calls is wanted; else it has this host's."""
    script = "import socket; socket.socket(socket.AF_UNIX)\ntry: socket.socket(); print('yes')\nexcept OSError as error: print(error.errno)"
    for options in ({}, {"security_opt": ["seccomp=unconfined"]}):
        assert shell(f'python3 -c "{script}"', network="none", **options) == "97\n"
        assert shell(f'python3 -c "{script}"', **options) == "yes\n"


def test_files_are_copied_in_and_out(engine: Engine, goes_on: Container, tmp_path: Path) -> None:
    """Of one that runs and of one that does not, of its tree and of a volume, which a link may lead to; read-only ones stay so."""
    (tmp_path / "file").write_text("brought\n")
    (tmp_path / "kept").mkdir()
    made = engine.create("toolbox", "cat", "/a", "/v/a", volumes=["filled:/v", f"{tmp_path}/kept:/kept:ro"])
    for place in ("/a", "/v/a"):
        made.bring(tmp_path / "file", place)
    with pytest.raises(Conflict, match="Read-only"):
        made.bring(tmp_path / "file", "/kept/a")
    assert os.listdir(tmp_path / "kept") == []
    made.start()
    assert made.wait(PATIENCE_S) == 0
    assert said(made) == ["brought", "brought"]
    made.fetch("/v/a", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "brought\n"
    made.remove(volumes=True)
    engine.remove_volume("filled")
    goes_on.bring(tmp_path / "file", "/tmp/b")
    assert executed(goes_on, "cat", "/tmp/b") == (0, "brought")
    executed(goes_on, "sh", "-c", "echo c >/c")
    goes_on.fetch("/c", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "c\n"


def test_sockets_have_room_for_their_paths(engine: Engine) -> None:
    """On this host it is that of the store and the container's together, of 107 bytes at most; another command finds the server."""
    place = "/" + "s" * (107 - len(f"{engine.store.root}/snapshots/012345678901/upper/"))
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind('{place}'); s.listen()"
    served = "; print('listens', flush=True); s.accept()[0].sendall(b'served'); s.accept()"
    made = engine.run("toolbox", "python3", "-c", code + served, detach=True)
    next(iter(made.logs(follow=True)))
    asks = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{place}'); print(s.recv(9).decode())"
    assert executed(made, "python3", "-c", asks) == (0, "served")
    made.remove(force=True)


def test_what_is_only_shown_is_copied_too(engine: Engine, tmp_path: Path) -> None:
    """Of folders in memory and files of /etc; what nobody in the container would see is written nowhere."""
    made = engine.run("toolbox", "sleep", "600", detach=True, tmpfs=["/t"])
    for name in ("file", "hosts"):
        (tmp_path / name).write_text("brought\n")
    for place in ("/t/a", "/dev/shm/a"):
        made.bring(tmp_path / "file", place)
        assert executed(made, "cat", place) == (0, "brought")
        made.fetch(place, tmp_path / "back")
        assert (tmp_path / "back").read_text() == "brought\n"
    for path in ("/etc/hosts", "/proc/version"):
        made.fetch(path, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_text().strip() == executed(made, "cat", path)[1]
    for path, words in (
        ("/etc/", "a file cannot take the place of what is mounted: /etc/hosts"),
        ("/dev/null", "a device cannot be replaced"),
        ("/etc/hosts", "a file cannot take the place of what is mounted: /etc/hosts"),
        ("/proc/x", "/proc is the kernel's own"),
        ("/sys/kernel", "/sys/kernel is the kernel's own"),
    ):
        with pytest.raises(Conflict, match=words):
            made.bring(tmp_path / ("hosts" if path == "/etc/" else "file"), path)
    made.remove(force=True)


def test_what_it_closed_is_no_end_of_it(engine: Engine) -> None:
    """A container whose last run took all rights from a folder starts again, and its files are counted."""
    script = "dd if=/dev/zero of=/srv/big bs=1M count=20 2>/dev/null; chmod 0 /srv /etc"
    made = engine.run("toolbox", "sh", "-c", script, volumes=["inner:/srv/inner"])
    assert made.wait(PATIENCE_S) == 0
    assert {state.id: size for state, size in engine.sizes()}[made.id] > 20 << 20
    made.start()
    assert made.wait(PATIENCE_S) == 0
    made.remove(volumes=True)
    engine.remove_volume("inner")


@pytest.mark.skipif(
    host.probe().tier not in {"T1", "T2"}, reason="needs an ordinary user who may make user namespaces: root has no T2"
)
def test_layers_of_another_tier_are_read(tmp_path: Path) -> None:
    """One store for two tiers: what was unpacked where this user is root can be looked into where he is not."""
    lines = "FROM toolbox\nRUN mkdir /none && echo x >/none/file && chmod 0 /none/file /none\n"
    with pytest.MonkeyPatch.context() as patch:
        for tier in ("T2", "T4"):
            patch.setenv(TIER, tier)
            with Engine(tmp_path / "store") as made:
                if tier == "T2":
                    made.build(lines, tag="closed")
                    continue
                told = made.run("closed", "cat", "/none/file")
                assert told.wait(PATIENCE_S) == 0
                assert said(told) == ["x"]
                assert told.changes() == ()
                told.remove()


def test_places_that_links_lead_to_are_found(engine: Engine, tmp_path: Path) -> None:
    """A volume, a part of one, and a file that is a link on this host; a root that may not be written to is left alone."""
    (tmp_path / "real").write_text("real\n")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "whole/part").mkdir(parents=True)
    volumes = [f"{tmp_path}/whole:/var/run/whole", f"{tmp_path}/link:/etc/linked"]
    part = "type=volume,source=parted,target=/part,volume-subpath=sub"
    engine.run("toolbox", "mkdir", "/v/sub", volumes=["parted:/v"], rm=True).wait()
    made = engine.run(
        "toolbox", "sleep", "600", volumes=volumes, mount=[part], tmpfs=["/var/run/t"], read_only=True, detach=True
    )
    for place in ("/run/whole/a", "/var/run/whole/part/a", "/run/t/a", "/part/a"):
        made.bring(tmp_path / "real", place)
        assert executed(made, "cat", place) == (0, "real")
    made.fetch("/etc/linked", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "real\n"
    with pytest.raises(Conflict, match="what is mounted: /etc/linked"):
        made.bring(tmp_path / "real", "/etc/linked")
    (tmp_path / "tree/run/whole/b").mkdir(parents=True)
    with pytest.raises(Conflict, match="something else is shown at /run/whole"):
        made.bring(f"{tmp_path}/tree/.", "/")
    made.bring(f"{tmp_path}/tree/run/whole/.", "/run/whole")
    assert executed(made, "ls", "/run/whole") == (0, "a\nb\npart")
    with pytest.raises(Conflict, match="Read-only"):
        made.bring(tmp_path / "real", "/srv/a")
    made.remove(force=True)
    engine.remove_volume("parted")


def test_nobody_hides_from_who_shows_him_his_files(engine: Engine) -> None:
    """What would have made a process invisible to others of its user, as agents for keys do, is answered and does nothing."""
    code = "import ctypes, time; prctl = ctypes.CDLL(None).prctl; print(prctl(4, 0), prctl(3), prctl(4, 1), flush=True)"
    made = engine.run("toolbox", "python3", "-c", code + "; time.sleep(600)", detach=True)
    until(lambda: said(made) == ["0", "1", "0"])
    before = alive(made)
    os.kill(load_extra(made._folder)["shim"], signal.SIGKILL)
    until(lambda: not any(map(processes.start_time, before)))
    made.remove(force=True)


def test_owners_and_modes_are_those_that_docker_has(engine: Engine, tmp_path: Path) -> None:
    """What a program makes is root's, also where this user is none; what nobody may read or enter is what only root may."""
    rows = [
        ("ro", 0o555, 0),
        ("ro/shadow", 0, 0),
        ("none", 0, 0),
        ("none/file", 0o400, 0),
        ("theirs", 0o644, os.geteuid() or 7),
    ]
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        for name, mode, uid in rows:
            row = tarfile.TarInfo(name)
            row.mode, row.uid, row.size = mode, uid, 0 if name in {"ro", "none"} else 1
            row.type = tarfile.REGTYPE if row.size else tarfile.DIRTYPE
            archive.addfile(row, io.BytesIO(b"x") if row.size else None)
    (tmp_path / "file").write_text("copied")
    script = "cat /ro/shadow /none/file; echo y >/ro/made; touch /none/made; chmod 0 /hidden; chmod 500 /srv; "
    script += "test $(stat -c %a /ro) = 555; chmod 444 /opened /kept; test $(stat -c %a /kept) = 444; chmod 644 /opened"
    lines = f"FROM toolbox\nADD rows.tar /\nRUN set -e; touch /hidden /opened /kept; {script}\nCOPY file /ro/\nCOPY file /srv/\n"
    engine.build(lines, context=tmp_path, tag="strict")
    made = engine.run("strict", "sh", "-c", f"{script}; cat /ro/file /hidden; rm -r /none; chmod 0 /etc/group")
    assert made.wait(PATIENCE_S) == 0
    assert said(made) == ["xxcopied"]
    assert {change.path for change in made.changes()} == {"/etc", "/etc/group", "/none", "/ro", "/ro/made"}
    made.bring(tmp_path / "file", "/ro/brought")
    engine.commit(made, "stricter")
    made.remove()
    again = engine.create("stricter", "true")
    found = io.BytesIO()
    again.export(found)
    found.seek(0)
    with tarfile.open(fileobj=found) as archive:
        told = {row.name: (row.mode, row.uid) for row in archive}
    wanted = {
        "ro": (0o555, 0),
        "ro/shadow": (0, 0),
        "theirs": (0o644, os.geteuid() or 7),
        "hidden": (0, 0),
        "srv": (0o500, 0),
    }
    wanted |= {"opened": (0o644, 0), "kept": (0o444, 0)}
    wanted |= {"ro/made": (0o644, 0), "ro/file": (0o644, 0), "ro/brought": (0o644, 0), "etc/group": (0, 0)}
    assert {name: told[name] for name in wanted} == wanted
    assert not told.keys() & {"none", "none/file"}
    again.remove()
    for name in ("stricter", "strict"):
        engine.remove_image(name)


def test_what_it_changed_is_known_and_makes_an_image(engine: Engine, shell: Shell) -> None:
    """Nothing of what it is made of is among that."""
    made = engine.run("toolbox", "sh", "-c", "echo x >/new; rm /etc/nsswitch.conf", volumes=["/data"], tmpfs=["/t"])
    assert made.wait(PATIENCE_S) == 0
    assert [(change.kind, change.path) for change in made.changes()] == [
        ("modified", "/etc"),
        ("deleted", "/etc/nsswitch.conf"),
        ("added", "/new"),
    ]
    made.commit("derived")
    assert shell("cat /new; ls /etc/nsswitch.conf 2>/dev/null || echo gone", image="derived").split() == ["x", "gone"]
    whole = io.BytesIO()
    made.export(whole)
    whole.seek(0)
    with tarfile.open(fileobj=whole) as archive:
        assert "new" in archive.getnames()
    made.remove(volumes=True)
    engine.remove_image("derived")


def test_limits_are_watched(engine: Engine) -> None:
    """Where no cgroup holds them, a container that has more memory or processes is ended, and why is said."""
    hungry = engine.run("toolbox", "python3", "-c", "x = b'x' * (200 << 20); import time; time.sleep(60)", memory="64m")
    assert hungry.wait(PATIENCE_S) == 137
    assert hungry.state.out_of_memory
    hungry.remove()
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 60 & done; wait"
    many = engine.run("toolbox", "sh", "-c", script, pids_limit=5)
    assert many.wait(PATIENCE_S) in {2, 137}  # a cgroup lets it fork no more
    many.remove()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"privileged": True}, "--privileged"),
        ({"cap_add": ["NET_ADMIN"]}, "--cap-add"),
        ({"publish": ["8080:80"]}, "--publish .* the port that a program opens is this host's"),
        ({"publish_all": True}, "--publish-all"),
        ({"network": "bridge"}, "--network bridge"),
        ({"network": "container:x"}, "--network container:x"),
        ({"pid": "container:x"}, "--pid container:x"),
        ({"userns": "auto"}, "--userns auto"),
        ({"sysctl": ["kernel.msgmax=9000"]}, "--sysctl"),
        ({"device_cgroup_rule": ["c 1:3 rwm"]}, "--device-cgroup-rule"),
        ({"group_add": ["5"]}, "--group-add"),
        ({"profile": "sandbox"}, "--profile sandbox .* no boundary"),
        ({"strict": True}, "security boundary: none"),
    ],
)
def test_what_cannot_be_had_is_refused(engine: Engine, options: RunOptions, words: str) -> None:
    """With the reason, before anything of it is there."""
    before = [container.id for container in engine.containers(all=True)]
    with pytest.raises(HostError, match=words) as caught:
        engine.create("toolbox", "true", **options)
    assert caught.value.hint
    assert [container.id for container in engine.containers(all=True)] == before


def test_a_name_of_its_own_is_told_as_not_kept(engine: Engine) -> None:
    """Programs ask the kernel, which knows but this host's; the files say it as elsewhere."""
    made = engine.run("toolbox", "cat", "/etc/hostname", hostname="web")
    assert made.wait(PATIENCE_S) == 0
    assert said(made) == ["web"]
    assert any("--hostname web" in sentence for sentence in made.state.not_enforced)
    made.remove()


def test_a_container_of_another_tier_is_refused(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made for namespaces is not run without them."""
    monkeypatch.delenv(TIER)
    with Engine(tmp_path / "other") as other:
        if other.host().tier == "T4":
            pytest.skip("needs a tier better than T4")
    if os.geteuid():  # the one whose files are one id's, too
        monkeypatch.setenv(TIER, "T2")
    with Engine(tmp_path / "store") as other:
        identifier = other.create("toolbox", "true").id
        alone = other.create("toolbox", "true", network="none").id
    monkeypatch.setenv(TIER, "T4")
    with Engine(tmp_path / "store") as again:
        for made in identifier, alone:
            found = again.container(made)
            with pytest.raises((HostError, LaunchError), match="was made for"):
                found.start()
            found.remove()


def test_an_image_is_built(engine: Engine, shell: Shell) -> None:
    """With commands that run in it."""
    engine.build("FROM toolbox\nRUN echo made >/made && mkdir /d\nWORKDIR /d\nRUN pwd >>/made\n", tag="built")
    assert shell("cat /made", image="built").split() == ["made", "/d"]
    engine.remove_image("built")
