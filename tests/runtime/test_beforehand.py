"""A container's process that is there before the container is wanted."""

from __future__ import annotations

import contextlib
import marshal
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.linux import syscalls
from nbcontainers.oci.runtime import Mount
from nbcontainers.runtime import launch, processes, spawn
from nbcontainers.runtime.process import Runtime

from ..waiting import until
from .conftest import Box


@pytest.fixture
def fresh(box: Box, run_dir: Path) -> Iterator[Box]:
    """A box with a runtime of its own, which has run one container."""
    with Runtime(run_dir, box.host) as runtime:
        alone = Box(box.root, box.lower, box.host, runtime, box.started)
        assert alone.run("true")[0] == 0
        yield alone


def spare(runtime: Runtime) -> int:
    """The process that waits for a container; 0 where there is none."""
    for shim in processes.children(runtime.zygote_pid() or 0):
        for pid in processes.children(shim):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it goes when somebody mounts something
                if Path(f"/proc/{pid}/comm").read_text() == "nbc-init\n":
                    return pid
    return 0


def waiting(box: Box) -> int:
    """The same, once it is there; anybody on this host may mount something, and it goes: then another container makes another."""
    for _ in range(20):
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if pid := spare(box.runtime):
                return pid
            time.sleep(0.01)
        assert box.run("true")[0] == 0
    raise AssertionError("no process waits")


def groups_of(pid: int, box: Box) -> list[Path]:
    """The groups of ours that a process is in."""
    named = re.findall(r"nbcontainers-\w+", Path(f"/proc/{pid}/cgroup").read_text())
    return [Path(parent) / name for parent in box.host.hierarchy.parents.values() for name in named]


def is_gone(pid: int, groups: list[Path]) -> bool:
    """Whether nothing is left of it."""
    return not processes.start_time(pid) and not any(path.exists() for path in groups)


def test_it_becomes_the_next_container(fresh: Box) -> None:
    """One that wants what the last one wanted, whatever its command and its files are."""
    for _ in range(20):
        pid = waiting(fresh)
        running = fresh.start("sleep", "600", env=["A=b"], cwd="/tmp", hostname="other")
        if running.state.pid == pid:
            break
    assert running.state.pid == pid
    assert fresh.host.hierarchy.directories(running.folder.name) or not fresh.host.hierarchy.parents


def test_it_is_like_one_that_was_not(box: Box, run_dir: Path) -> None:
    """Mounts and what is on them, interfaces, parameters, groups, and what the process holds: the same, one as the other."""
    script = (
        "cut -d' ' -f4- /proc/self/mountinfo; ls -la /dev /dev/pts /dev/shm; ifconfig -a; cat /proc/self/status /proc/self/cgroup;"
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $$; ls /proc /proc/self/fd; id; pwd; umask; ulimit -a; ps"
    )
    with Runtime(run_dir, box.host) as runtime:
        alone = Box(box.root, box.lower, box.host, runtime, box.started)
        shown = [alone.shell(script)]
        waiting(alone)
        shown.append(alone.shell(script))
    numbers = re.compile(
        r"(fd/|SigQ:\t|switches:\t|ino=|Vm\w+:\s+|Rss\w+:\s+|[A-Z][a-z]{2} +\d+ )[\d:]+( kB)?|"
        + box.root.name
        + r"/\w+"
    )
    first, second = (numbers.sub("", text).splitlines() for text in shown)
    assert first == second


def test_one_that_wants_something_else_is_made_anew(fresh: Box) -> None:
    """What waited is gone then, with its group; also where only the name is another."""
    pid = waiting(fresh)
    groups = groups_of(pid, fresh)
    fresh.runtime.new_id()
    running = fresh.start("sleep", "600", network="host")
    assert running.state.pid != pid
    assert is_gone(pid, groups)


def test_another_engine_starts_the_container(fresh: Box, run_dir: Path) -> None:
    """What waits in its group gives way at once, and takes nothing of the container's with it."""
    for _ in range(5):
        pid = waiting(fresh)
        is_in_its_group = bool(groups_of(pid, fresh))
        folder, rootfs = fresh.prepare()
        began = time.monotonic()
        with Runtime(run_dir, fresh.host) as other:
            state = fresh.state(folder, ("cat", "/proc/self/cgroup"))
            running = other.start(folder, fresh.spec("true"), rootfs, state=state)
            assert running.wait(60) == 0
        assert not (is_in_its_group and processes.start_time(pid))
        assert time.monotonic() - began < 5
        assert fresh.run("true")[0] == 0


def test_many_at_once_each_have_their_groups(fresh: Box) -> None:
    """Whatever waits for whom, and goes while the one that it waited for begins."""
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(fresh.run, "true") for _ in range(200)]:
            assert done.result()[0] == 0


def test_it_may_be_killed(fresh: Box) -> None:
    """Its shim sees that, and the next container is made without it."""
    pid = waiting(fresh)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes.start_time(pid))
    assert fresh.run("echo", "there")[:2] == (0, "there\n")


def test_it_may_be_killed_before_its_shim_sees_that(fresh: Box) -> None:
    """A message and that end come at the same time: the container is made without it all the same."""
    pid = waiting(fresh)
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(fresh.run, "echo", "there")
            time.sleep(0.1)
            os.kill(shim, signal.SIGCONT)
            assert there.result()[:2] == (0, "there\n")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(shim, signal.SIGCONT)


def test_it_may_stand_still(fresh: Box) -> None:
    """The next container does not wait for it for long: it has said already that it is ready, and then its shim hears no more."""
    pid = waiting(fresh)
    groups = groups_of(pid, fresh)
    os.kill(pid, signal.SIGSTOP)
    fresh.runtime.close()
    until(lambda: is_gone(pid, groups))


@pytest.mark.parametrize("who", ["engine", "zygote", "shim"])
def test_it_goes_with_those_who_made_it(fresh: Box, who: str) -> None:
    """The runtime is closed, or a process on the way to it is killed: neither process nor group is left."""
    pid = waiting(fresh)
    groups = groups_of(pid, fresh)
    zygote = fresh.runtime.zygote_pid() or 0
    if who == "engine":
        fresh.runtime.close()
    else:
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(zygote if who == "zygote" else shim, signal.SIGKILL)
    until(lambda: is_gone(pid, groups))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of its own on this host, in a folder with that name, which has the name as a file."""
    if os.geteuid():
        pytest.skip("needs root, who can mount")
    made: list[Path] = []

    def mount(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        syscalls.mount("tmpfs", str(folder), "tmpfs")
        made.append(folder)
        (folder / name).write_text(name)
        return folder

    yield mount
    for folder in made:
        if os.path.ismount(folder):
            syscalls.umount(str(folder), syscalls.MNT_DETACH)


def test_what_the_host_has_mounted_since_is_seen(fresh: Box, mounted: Callable[[str], Path], tmp_path: Path) -> None:
    """A container sees what is mounted on the host when it is started, also behind a link and below what it is shown."""
    (tmp_path / "link").symlink_to("a folder")
    for name, shown, option in (
        ("new", tmp_path / "new", "bind"),
        ("a folder", tmp_path / "link", "bind"),
        ("in", tmp_path, "rbind"),
    ):
        pid = waiting(fresh)
        mounted(name)
        mount = Mount(destination="/mnt", type="bind", source=str(shown), options=(option,))
        path = f"/mnt/{name}/{name}" if option == "rbind" else f"/mnt/{name}"
        assert fresh.run("cat", path, mounts=[mount])[:2] == (0, name)
        until(lambda pid=pid: not processes.start_time(pid))  # type: ignore[misc]


def test_what_the_host_mounts_elsewhere_is_no_matter(fresh: Box, mounted: Callable[[str], Path]) -> None:
    """Somebody else's mounts come, and go again, and the process waits on."""
    for number in range(20):
        pid = waiting(fresh)
        syscalls.umount(str(mounted(str(number))), 0)
        running = fresh.start("sleep", "600")
        if running.state.pid == pid:
            break
    assert running.state.pid == pid


def test_it_goes_when_the_host_unmounts_something(fresh: Box, mounted: Callable[[str], Path]) -> None:
    """Else it would keep that busy."""
    folder = mounted("old")
    pid = waiting(fresh)
    fresh.run("true")
    pid = waiting(fresh)
    syscalls.umount(str(folder), 0)
    until(lambda: not processes.start_time(pid))


def test_the_root_of_the_host_is_shown_as_it_is(fresh: Box) -> None:
    """A bind of it, with all that is mounted below, shows nothing of what is prepared."""
    waiting(fresh)
    mount = Mount(destination="/host", type="bind", source="/", options=("rbind", "ro"))
    for _ in range(2):
        code, out, _err = fresh.run("ls", "/host", mounts=[mount])
        assert code == 0
        assert {"bin", "etc", "usr"} <= set(out.split())


def test_it_does_not_grow_old(box: Box, tmp_path: Path) -> None:
    """Nobody wants it for a while, and it is gone: it keeps file systems busy, and its age would be the container's."""
    folder, rootfs = box.prepare()
    plan = launch.compile(
        box.spec("true"), rootfs, folder=folder, state=box.state(folder, ("true",)), host=box.host, socket="/s"
    )
    pattern = {**plan["pattern"], "groups": {"directories": [], "into": "", "join": [], "late_flags": 0}}
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "import marshal, os, _socket\nfrom nbcontainers.runtime import beforehand\n"
        "beforehand._MOST_AGE_S = float(sys.argv[3])\n"
        "near, far = _socket.socketpair()\n"
        "beforehand.prepare(marshal.loads(bytes.fromhex(sys.argv[2])))\n"
        "pid = beforehand._spare.pid\n"
        "os.kill(pid, 0)\n"
        "beforehand.keep(near.fileno(), os.pidfd_open(os.getppid()))\n"
        "print(os.path.exists(f'/proc/{pid}'), beforehand._spare)\n"
    )
    words = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        script,
        str(Path(spawn.__file__).parents[2]),
        marshal.dumps(pattern).hex(),
    ]
    done = subprocess.run([*words, "0.1"], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "False None\n", done.stderr
