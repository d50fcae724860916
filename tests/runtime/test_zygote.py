"""The process that forks: small, alone, and isolated from what the user has installed."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nbcontainers.runtime import processes, spawn
from nbcontainers.runtime import state as states
from tests.waiting import PATIENCE_S, until

from .conftest import Box
from .test_exec import wish

HEAVY = {
    "re",
    "json",
    "typing",
    "dataclasses",
    "enum",
    "contextlib",
    "collections",
    "socket",
    "subprocess",
    "threading",
    "site",
}


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such process")


def test_it_is_small(box: Box) -> None:
    """At most 15 MB resident, after it has served, and so is the shim of a container that runs."""
    for _ in range(3):
        box.run("true")
    zygote = box.runtime.zygote_pid()
    assert zygote is not None
    assert resident(zygote) <= 15 << 20
    running = box.start("sleep", "600")
    assert resident(states.load_extra(running.folder)["shim"]) <= 15 << 20


def test_it_has_one_thread(box: Box) -> None:
    """A fork of a process with threads is a gamble, and such a process may enter no user namespace."""
    box.run("true")
    zygote = box.runtime.zygote_pid()
    assert os.listdir(f"/proc/{zygote}/task") == [str(zygote)]


def test_it_imports_little() -> None:
    """None of the modules that cost time and memory, and nothing of the package but what runs before exec."""
    script = "import sys; sys.path.append(sys.argv[1]); import nbcontainers.runtime.zygote; print(*sys.modules)"
    root = Path(spawn.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(root)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & HEAVY
    ours = {name.removeprefix("nbcontainers.") for name in loaded if name.startswith("nbcontainers.")}
    streams = {"client", "door", "frames", "log", "logfiles", "poller", "session", "streams", "terminal"}
    life = {
        "becoming",
        "beforehand",
        "birth",
        "collapse",
        "crew",
        "firstprocess",
        "groups",
        "pipes",
        "happenings",
        "health",
        "mounttable",
        "overruns",
        "processes",
        "record",
        "report",
        "restarts",
        "service",
        "shim",
        "zygote",
    }
    files = {"descriptors", "mounttable", "remapped", "rootfs", "shown"}
    runtime = {*streams, *life, *files, "enter", "entered", "init", "lender", "mother", "plug", "user", "watch"}
    kernel = {
        "idmapped",
        "inside",
        "mapping",
        "memory",
        "notify",
        "overlaynotes",
        "pages",
        "recorded",
        "remote",
        "rights",
        "slices",
        "smallfiles",
        "syscalls",
    }
    identity = {"caller", "credentials", "files", "forks", "making", "people", "supervisor", "world"}
    assert ours == {
        *("linux", "runtime", "runtime.identity"),
        *(f"linux.{name}" for name in kernel),
        *(f"runtime.{name}" for name in runtime),
        *(f"runtime.identity.{name}" for name in identity),
    }


def test_it_is_isolated(box: Box, monkeypatch: object) -> None:
    """No variable of the user's environment, no site-packages, no descriptor of the engine, a session of its own."""
    box.run("true")
    zygote = box.runtime.zygote_pid()
    assert zygote is not None
    words = Path(f"/proc/{zygote}/cmdline").read_bytes().split(b"\0")
    assert {b"-I", b"-S"} <= set(words)
    variables = {entry.split(b"=")[0] for entry in Path(f"/proc/{zygote}/environ").read_bytes().split(b"\0")}
    assert variables <= {b"", b"LD_BIND_NOW", b"LD_LIBRARY_PATH"}
    assert os.getsid(zygote) == zygote
    # 0 to 2 are /dev/null, one is the engine's socket, one waits for the shim in reserve.
    until(lambda: len(os.listdir(f"/proc/{zygote}/fd")) == 5)


def test_a_copy_is_sealed_though_it_is_in_use_for_a_moment() -> None:
    """The kernel seals no file in memory of which it has a page in hand; it is asked until it has not."""
    copy = os.memfd_create("copy", os.MFD_ALLOW_SEALING)
    os.ftruncate(copy, 4096)
    used = mmap.mmap(copy, 4096)
    later = threading.Timer(0.1, used.close)
    later.start()
    spawn.seal(copy)
    assert used.closed
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    os.close(copy)
    later.join()


def test_it_works_from_a_folder_with_another_name(tmp_path: Path) -> None:
    """The package is found where it lies, whatever the current folder and PYTHONPATH of the engine say."""
    near, far = __import__("socket").socketpair(1, 5)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        process = spawn.start("zygote", stdin=far.fileno())
    finally:
        os.chdir(before)
    far.close()
    near.settimeout(PATIENCE_S)
    assert near.recv(64) == b"ready"
    near.close()
    assert process.wait(PATIENCE_S) == 0


def test_it_works_from_a_virtual_environment(tmp_path: Path) -> None:
    """A venv's interpreter is a link, and its standard library lies elsewhere."""
    import venv

    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "import socket\nfrom nbcontainers.runtime import spawn\n"
        "near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "process = spawn.start('zygote', stdin=far.fileno()); far.close(); near.settimeout(100)\n"
        "print(near.recv(64)); near.close(); print(process.wait(100))\n"
    )
    python = tmp_path / "env/bin/python"
    done = subprocess.run(
        [str(python), "-c", script, str(Path(spawn.__file__).parents[2])], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["b'ready'", "0"], done.stderr


def slice_of(pid: int) -> int:
    """For how many nanoseconds a process runs before another has its turn: see sched_getattr(2). 0 before Linux 6.12."""
    attributes = (ctypes.c_uint64 * 6)()
    number = 315 if os.uname().machine == "x86_64" else 275
    assert ctypes.CDLL(None).syscall(number, pid, ctypes.byref(attributes), 48, 0) == 0
    return int(attributes[3])


def test_short_turns_are_for_what_serves_alone(box: Box) -> None:
    """Zygote and shim are not kept waiting when they are woken; a container's command, and one that is entered, run as others do.

    An older kernel has one length for all, and lets them ask for another.
    """
    running = box.start("sleep", "600")
    usual = slice_of(os.getpid())
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    short = 100_000 if (int(major), int(minor)) >= (6, 12) else usual
    shim = states.load_extra(running.folder)["shim"]
    assert slice_of(box.runtime.zygote_pid() or 0) == slice_of(shim) == short
    assert slice_of(running.state.pid) == usual
    running.exec(wish("sleep", "601", detach=True), stdin=False)
    entered = until(
        lambda: [pid for pid in processes.children(shim) if b"601" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    )
    assert slice_of(entered[0]) == usual
