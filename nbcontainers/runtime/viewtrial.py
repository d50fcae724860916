"""Whether PRoot can show a container its files, found by doing it: run by ``host.probe`` in a process of its own.

Reads the paths of PRoot and of an empty folder, in which PRoot's loader lies then. Prints JSON: [why not, the ABI of Landlock, the files
that PRoot reads for itself].
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from ..linux import landlock, smallfiles, starter, syscalls
from . import processes, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S = 10.0
_CACHE = "/etc/ld.so.cache"


def main() -> None:
    """Learn what PRoot wants, and try it as a container has it: under Landlock, and with its loader where it is told."""
    proot, folder = os.fsdecode(sys.stdin.buffer.read()).split("\0")
    abi = landlock.version()
    files: list[str] = []
    why = "" if starter.program() else f"what starts its programs has not been written for {os.uname().machine}"
    try:
        if not why:
            for name, data in (("start", starter.program()), ("loader", b"")):
                smallfiles.write(f"{folder}/{name}", data)
                os.chmod(f"{folder}/{name}", 0o755)
            os.mkdir(f"{folder}/proc")  # PRoot would make places for binds that are missing, and could not
            files = _learn(proot, folder)
            _try(proot, folder, files, abi)
    except OSError as error:
        why = error.strerror or str(error)
    os.write(1, record.to_json([why, abi, files]).encode())


def _learn(proot: str, folder: str) -> list[str]:
    """The files that PRoot has mapped; its loader is put into the folder. A program that finds nobody to tell anything stands still."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    os.write(tell, bytes(fcntl.fcntl(tell, fcntl.F_GETPIPE_SZ)))
    os.set_blocking(tell, True)
    pid = _start(proot, ["-r", "/", f"{folder}/start"], tell, {}, lambda: None)
    os.close(tell)
    try:
        child = _child_of(pid, os.stat(proot))
        smallfiles.write(f"{folder}/loader", smallfiles.read(f"/proc/{child}/exe"))
        lines = [line.split(maxsplit=5) for line in smallfiles.read(f"/proc/{pid}/maps").splitlines()]
        return sorted(
            {os.fsdecode(words[5]) for words in lines if len(words) > 5 and words[5].startswith(b"/")} | {_CACHE}
        )
    finally:
        os.close(told)
        os.waitpid(pid, 0)


def _child_of(pid: int, proot: os.stat_result) -> int:
    """The process that a PRoot has started, once that executes something else."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for child in processes.children(pid):
            try:
                if not os.path.samestat(os.stat(f"/proc/{child}/exe"), proot):
                    return child
            except OSError:
                continue  # it is gone
        if not processes.start_time(pid):
            raise OSError("PRoot ended before it had started anything: is tracing (ptrace) forbidden?")
        time.sleep(0.001)
    raise OSError(f"PRoot has started nothing for {_PATIENCE_S:g} seconds")


def _try(proot: str, folder: str, files: list[str], abi: int) -> None:
    """Start a program that starts itself, without more words, and so ends with 0."""
    told, tell = os.pipe()

    def guard() -> None:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        if abi:
            landlock.restrict(abi, [(path, False) for path in (*files, folder, "/proc")])

    words = ["-r", folder, "-w", "/", "-b", "/proc:/proc!", "-i", "5:6", "/start", "/start"]
    pid = _start(proot, words, tell, {"PROOT_LOADER": f"{folder}/loader", "PROOT_TMP_DIR": folder}, guard)
    os.close(tell)
    said = smallfiles.read_all(told)
    os.waitpid(pid, 0)
    if [number for number, _ in starter.told(said)] != [0, 0]:
        raise OSError("PRoot does not run programs under Landlock" if abi else "PRoot does not run programs")


def _start(proot: str, words: list[str], tell: int, env: dict[str, str], before: Callable[[], None]) -> int:
    """The pid of a PRoot whose program tells through a descriptor."""
    pid, pidfd = syscalls.clone3(0)
    if pid == 0:
        try:
            os.dup2(tell, starter.DESCRIPTOR, inheritable=True)
            before()
            os.execve(proot, [proot, "-v", "-1", *words], env)
        finally:
            os._exit(125)
    os.close(pidfd)
    return pid
