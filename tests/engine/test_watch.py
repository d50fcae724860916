"""Limits on memory and processes hold for all that a container has, whether a cgroup keeps them or a shim watches."""

from __future__ import annotations

import os
from typing import Unpack

import pytest

from nbcontainers.engine import Container, Engine
from nbcontainers.engine.options import RunOptions
from nbcontainers.results import ENDED_FOR
from tests.waiting import until

PATIENCE_S = 60.0
BEGIN = """
import ctypes, mmap, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype, libc.shmat.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
libc.shmdt.argtypes = (ctypes.c_void_p,)
block = b"x" * (1 << 20)
def memfd(count):
    descriptor = os.memfd_create("held")
    for _ in range(count):
        os.write(descriptor, block)
    return descriptor
def segments(count):
    for _ in range(count):
        address = libc.shmat(libc.shmget(0, len(block), 0o1600), None, 0)
        ctypes.memset(address, 1, len(block))
        libc.shmdt(address)
def deleted(count):
    descriptor = os.open("/dev/shm/held", os.O_RDWR | os.O_CREAT)
    os.unlink("/dev/shm/held")
    for _ in range(count):
        os.write(descriptor, block)
def unnamed(count):
    mapped = mmap.mmap(-1, count << 20)
    mapped.write(bytes(1) * (count << 20))
    return mapped
def moved(count):
    os.rename("/a", "/c")
    os.makedirs("/a/b")
    with open("/c/b/held", "wb", buffering=0) as file:
        for _ in range(count):
            file.write(block)
def stay():
    print("stays", flush=True)
    time.sleep(600)
"""


def hold(engine: Engine, code: str, **words: Unpack[RunOptions]) -> Container:
    """A container in which that runs, with 64 MiB."""
    program = ("python3", "-c", BEGIN + code)
    options: RunOptions = {"network": "none", "memory_swap": "64m", "memory": "64m", **words}
    return engine.run("toolbox", *program, detach=True, **options)


def is_ready(container: Container) -> bool:
    """Whether it says that it stays."""
    return any(b"stays" in line.data for line in container.logs())


@pytest.mark.parametrize(
    ("how", "profile"),
    [
        *(
            (how, profile)
            for how in ("memfd(200)", "segments(200)", "deleted(200)")
            for profile in ("docker", "sandbox")
        ),
        ("kept = unnamed(40); memfd(40)", "sandbox"),
        ("moved(200)", "docker"),  # the root of the other one can only be read
    ],
)
def test_memory_that_no_process_has_mapped_counts(engine: Engine, how: str, profile: str) -> None:
    """In a memfd (also beside as much that is mapped), in segments that nobody has attached, in an open file without a name, on a tmpfs
    whose place has another name by now: memory runs out, and that is told.
    """
    container = hold(engine, f"{how}; stay()", profile=profile, shm_size="300m", tmpfs=["/a/b"])
    assert container.wait(PATIENCE_S) == 137
    assert container.state.out_of_memory


def test_memory_counts_once(engine: Engine) -> None:
    """A memfd that two processes have mapped is no more than it is: the container lives, and its usage tells so."""
    code = "held = mmap.mmap(memfd(36), 36 << 20); os.fork(); assert held.find(b'y') < 0; stay()"
    container = hold(engine, code)
    until(lambda: is_ready(container))
    for _ in range(10):
        assert 36 << 20 < container.usage().memory < 64 << 20
    assert container.state.status == "running"
    container.remove(force=True)


def test_usage_tells_what_is_held(engine: Engine) -> None:
    """All three ways, and each is given back where it came from."""
    container = hold(engine, "memfd(14); segments(13); deleted(12); stay()")
    until(lambda: is_ready(container))
    assert 39 << 20 < container.usage().memory < 64 << 20
    container.remove(force=True)


def test_a_million_descriptors_hide_no_memory(engine: Engine) -> None:
    """Where a shim watches, it ends a container with more of them than it can look through, and says so, however little they hold; a
    cgroup counts on.
    """
    code = """
descriptor = memfd(1)
for _ in range(60):
    if not os.fork():
        while True:
            try:
                os.dup(descriptor)
            except OSError:
                time.sleep(600)
stay()
"""
    with os.fdopen(
        os.memfd_create("beside"), "wb"
    ) as beside:  # else what the host has tells that there is nothing to look for
        beside.write(bytes(64 << 20))
        beside.flush()
        still = hold(engine, "stay()")
        is_watched = still.usage().source == "process tree"
        still.remove(force=True)
        container = hold(engine, code, ulimit=["nofile=20000:20000"])
        if is_watched:
            assert container.wait(PATIENCE_S) == 137
            assert not container.state.out_of_memory
            assert "too many files" in container.state.error
        else:
            until(lambda: is_ready(container))
            with pytest.raises(TimeoutError):
                container.wait(2)
            container.remove(force=True)


def test_as_many_processes_as_are_allowed_live(engine: Engine) -> None:
    """The limit itself is allowed, threads among them; a container at it whose processes come and go is not ended."""
    code = """
import threading
for _ in range(4):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
if not os.fork():
    time.sleep(600)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
stay()
"""
    container = engine.run("toolbox", "python3", "-c", BEGIN + code, network="none", pids_limit=7, detach=True)
    until(lambda: is_ready(container) or container.state.status == "exited")
    assert container.state.status == "running", (container.state, list(container.logs()))
    container.remove(force=True)


def test_each_run_is_held_to_its_limits(engine: Engine) -> None:
    """One that is started again after it was ended for a limit is ended for it again."""
    container = engine.run("toolbox", "sleep", "600", network="none", detach=True, restart="on-failure:1", timeout=0.3)
    assert container.wait(PATIENCE_S) == 137
    assert container.state.restarts == 1
    assert container.state.error.startswith(ENDED_FOR)
