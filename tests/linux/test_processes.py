"""Usage of a tree of processes, as /proc has it, where no cgroup counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.errors import NotFound
from nbcontainers.linux import memory, processes
from nbcontainers.linux.processes import ProcessTreeMeter
from tests.waiting import until

TREE = """
import os, sys, threading, time
block = os.urandom(24 << 20)
for depth in range(2):
    if os.fork(): break
else:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def tree() -> Iterator[int]:
    """A process, its child and its grandchild, which has two threads; they share 24 MiB."""
    with subprocess.Popen([sys.executable, "-S", "-c", TREE], stdout=subprocess.PIPE, start_new_session=True) as root:
        assert root.stdout is not None
        assert root.stdout.readline() == b"ready\n"
        yield root.pid
        os.killpg(root.pid, 9)


def test_a_tree_is_measured(tree: int) -> None:
    """Three processes with four threads; what they share is counted once, not thrice."""
    meter = ProcessTreeMeter(tree)
    usage = meter.sample()
    assert usage.source == "process tree"
    assert usage.processes == 4
    assert 24 << 20 < usage.memory < 64 << 20
    assert usage.memory_peak == usage.memory
    assert usage.cpu_seconds > 0
    assert usage.memory_limit is usage.oom_kills is usage.throttled_seconds is None
    meter.close()


def test_both_ways_to_find_descendants_agree(tree: int, tmp_path: Path) -> None:
    """With /proc/PID/task/TID/children, and on kernels without it by asking everybody for his parent."""
    found = processes.descendants(tree)
    assert len(found) == 3
    for pid in (*found, os.getpid(), 1):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_bytes(Path(f"/proc/{pid}/stat").read_bytes())
    (tmp_path / "version").write_text("")
    assert sorted(processes.descendants(tree, proc=str(tmp_path))) == sorted(found)


def test_time_of_ended_children_is_counted_and_never_runs_back() -> None:
    """A child's time is its parent's once it was waited for."""
    code = """
import os, sys, time
pid = os.fork()
if pid == 0:
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    os._exit(0)
os.waitpid(pid, 0)
print("waited", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as root:
        meter = ProcessTreeMeter(root.pid)
        assert root.stdout is not None
        root.stdout.readline()
        first = meter.sample().cpu_seconds
        assert 0.28 <= first < 2
        assert meter.sample().cpu_seconds >= first
        root.communicate()


def test_a_process_that_is_gone_is_not_found() -> None:
    """Also where another process has its number by now, for that one started later."""
    with subprocess.Popen(["sleep", "60"]) as process:
        meter = ProcessTreeMeter(process.pid)
        meter.sample()
        process.kill()
    with pytest.raises(NotFound, match=str(process.pid)):
        meter.sample()
    with pytest.raises(NotFound, match=str(process.pid)):
        ProcessTreeMeter(process.pid)
    meter = ProcessTreeMeter(os.getpid())
    meter._started = b"1"
    with pytest.raises(NotFound):
        meter.sample()


def test_a_dead_process_that_nobody_waited_for_is_gone() -> None:
    """A zombie uses nothing any more."""
    with subprocess.Popen(["true"]) as process:
        until(lambda: ") Z " in Path(f"/proc/{process.pid}/stat").read_text())
        with pytest.raises(NotFound):
            ProcessTreeMeter(process.pid)


def test_memory_that_may_not_be_divided_is_counted_whole(tmp_path: Path) -> None:
    """Without smaps_rollup (another user's process) all resident pages count; a process that is gone counts nothing."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/statm").write_text("500 100 20 1 0 80 0\n")
    assert memory.used([7, 8], proc=str(tmp_path)) == 100 * os.sysconf("SC_PAGE_SIZE")


def test_what_is_held_and_mapped_counts_once(tmp_path: Path) -> None:
    """Of what is held only what exceeds the mapped shared pages comes on top; who does not tell these apart is not counted twice."""
    for pid, text in ((7, "Pss: 100 kB\nPss_Anon: 30 kB\nPss_File: 10 kB\nPss_Shmem: 60 kB\n"), (8, "Pss: 100 kB\n")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/smaps_rollup").write_text(text)
    for pid, held, used in ((7, 0, 100), (7, 50, 100), (7, 200, 240), (8, 50, 100), (8, 200, 200)):
        assert memory.used([pid], held << 10, proc=str(tmp_path)) == used << 10


def test_memory_that_there_is_no_time_to_divide_is_counted_whole(tmp_path: Path) -> None:
    """All resident pages count, and none of the shared ones as what is held: never less than there is."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/statm").write_text("500 100 20 1 0 80 0\n")
    (tmp_path / "7/smaps_rollup").write_text("Pss: 40 kB\nPss_Shmem: 30 kB\n")
    page = os.sysconf("SC_PAGE_SIZE")
    assert memory.used([7], 50 * page, until=time.process_time() + 60, proc=str(tmp_path)) == (10 << 10) + 50 * page
    assert memory.used([7], 50 * page, until=0.0, proc=str(tmp_path)) == 150 * page


def test_a_command_with_blanks_and_parentheses_does_not_mislead(tmp_path: Path) -> None:
    """The fields are counted from the last parenthesis of /proc/PID/stat."""
    code = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) Z 1 (b', 0, 0, 0); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as root:
        assert root.stdout is not None
        root.stdout.readline()
        assert ProcessTreeMeter(root.pid).sample().processes == 1
        assert root.pid in processes.descendants(os.getpid())
        root.communicate()
