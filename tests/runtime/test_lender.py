"""A process that lends its memory to the one that becomes a container."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_BEGIN = """
import os, sys, time
from nbcontainers.linux import processes, syscalls
from nbcontainers.runtime.lender import Lender
def state(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
def until(holds):
    for _ in range(500):
        if holds(): return
        time.sleep(0.01)
    raise SystemExit("it was waited for in vain")
words = ["before"]
begin, go = os.pipe()
"""


def told(script: str) -> str:
    """What a process with one thread writes, which a lender needs."""
    done = subprocess.run([sys.executable, "-c", _BEGIN + textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_borrower_is_ours() -> None:
    """It is a child of this process, has the memory that this one had, and its exit code comes from what it executes."""
    script = """
        def become(begin):
            os.read(begin, 1)
            os.execv("/bin/sh", ["sh", "-c", f"exit {len(words)}"])
        lender = Lender(0, -1, (begin,), become)
        words.append("after")
        os.write(go, b"g")
        print(os.waitstatus_to_exitcode(os.waitpid(lender.borrower, 0)[1]))
        lender.end()
    """
    assert told(script) == "1\n"


def test_the_lender_does_not_come_back() -> None:
    """It waits until its borrower has executed something, is stopped then, and dies where it stands; ending it twice is no error."""
    script = """
        def become(begin):
            os.read(begin, 1)
            os.execv("/bin/sh", ["sh", "-c", "exec sleep 60"])
        lender = Lender(0, -1, (begin,), become)
        assert state(lender.pid) == "D"
        os.write(go, b"g")
        until(lambda: state(lender.pid) == "T")
        lender.end()
        lender.end()
        os.kill(lender.borrower, 9)
        print(os.waitstatus_to_exitcode(os.waitpid(lender.borrower, 0)[1]))
    """
    assert told(script) == "-9\n"


def test_a_borrower_that_is_killed_does_not_wake_it() -> None:
    """Nor does it begin anything of its own then: what was on the stack is not its own."""
    script = """
        def become(begin):
            os.read(begin, 1)
        lender = Lender(0, -1, (begin,), become)
        os.kill(lender.borrower, 9)
        os.waitpid(lender.borrower, 0)
        until(lambda: state(lender.pid) == "T")
        lender.end()
        print(open(f"/proc/self/task/{os.getpid()}/children").read().split())
    """
    assert told(script) == "[]\n"


def test_it_dies_with_its_maker() -> None:
    """A shim that is killed leaves no lender."""
    script = """
        import signal
        near, far = os.pipe()
        maker = os.fork()
        if not maker:
            def become(begin):
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                os.read(begin, 1)
            lender = Lender(0, -1, (begin,), become)
            os.write(far, f"{lender.pid} {lender.borrower}".encode())
            time.sleep(60)
        pids = os.read(near, 99).decode().split()
        os.kill(maker, 9)
        until(lambda: not any(os.path.exists(f"/proc/{pid}") and state(pid) != "Z" for pid in pids))
        print("gone")
    """
    assert told(script) == "gone\n"


def test_what_the_kernel_refuses_is_an_error() -> None:
    """Namespaces that cannot be had are an OSError, and nothing is left of the attempt."""
    script = """
        try:
            Lender(syscalls.CLONE_NEWNS | 0x200, -1, (), lambda: None)  # CLONE_FS, which does not go with it
        except OSError as error:
            print(error.strerror)
        print(open(f"/proc/self/task/{os.getpid()}/children").read().split())
    """
    assert told(script) == "Invalid argument\n[]\n"
