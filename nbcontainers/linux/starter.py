"""The program by which a traced container begins: it becomes the parent of the command, and tells how that began and ended.

PRoot tells neither: its exit code is that of whichever of its processes ended last, and 255 after a signal. An image need not have a shell
that could tell it. So a program of 383 bytes is shown in the container, which executes the command, in a session of its own with the
terminal that is its standard input, if it is one. It tells twice, through descriptor 3: first an errno (0 where the command was executed)
and the pid of the command; then the command's status, as waitpid(2) has it, and the pid again. It adopts who loses his parent, and ends
when there is nobody left. Its words are the path to execute, and then those of the command from the zeroth on; its first three
variables, which are PRoot's, it keeps to itself.

The zygote's children import this module: it imports only what is small.

Source: elf(5), vfork(2), and the calls that stand beside their bytes.
"""

from __future__ import annotations

import os
import sys
from struct import Struct

DESCRIPTOR = 3
"""Where it tells."""
_MARK = b"x\0\0\0"  # before the two numbers of 32 bits
_RECORD = 12

_X86_64 = """
    4889e3                          ; mov rbx, rsp: the count of words, the words, 0, the variables
    bf03000000 be02000000 ba01000000
    b848000000 0f05                 ; fcntl(3, F_SETFD, FD_CLOEXEC)
    bf24000000 be01000000
    b89d000000 0f05                 ; prctl(PR_SET_CHILD_SUBREAPER, 1)
    bf01000000 be09000000
    b89d000000 0f05                 ; prctl(PR_SET_PDEATHSIG, SIGKILL)
    4883ec10 48c7042478000000       ; what is told: [rsp] is "x", [rsp + 4] an errno or a status, [rsp + 8] the pid
    b83a000000 0f05                 ; vfork(): the child has this memory until it executes something or ends
    85c0 7551                       ; not 0: to the parent
    b870000000 0f05                 ; setsid()
    31ff be0e540000 31d2
    b810000000 0f05                 ; ioctl(0, TIOCSCTTY, 0)
    bf01000000 be09000000
    b89d000000 0f05                 ; prctl(PR_SET_PDEATHSIG, SIGKILL)
    488b7b10 488d7318
    488b03 488d54c328
    b83b000000 0f05                 ; execve(word 1, words from 2 on, variables from 3 on)
    f7d8 89442404                   ; it did not: that is the errno
    bf7f000000 b83c000000 0f05      ; exit(127)
    89c5 85c0 7906 f7d8 89442404    ; parent: ebp is the pid; where it is negative, there is an errno
    896c2408 e838000000             ; the pid; tell
    837c240400 7528                 ; an errno: to the end
    48c7c7ffffffff 488d742404 31d2 4531d2
    b83d000000 0f05                 ; again: wait4(-1, rsp + 4, 0, 0)
    39e8 7507                       ; another's pid: go on below
    e810000000 ebdd                 ; tell; again
    83f8f6 75d8                     ; not -ECHILD: again
    31ff b8e7000000 0f05            ; end: exit_group(0)
    bf03000000 488d742408 ba0c000000
    b801000000 0f05 c3              ; tell: write(3, rsp of the caller, 12); back
"""
_BASE = 0x400000
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")


def program() -> bytes:
    """The whole file; empty on a machine that it has not been written for."""
    if os.uname().machine != "x86_64":
        return b""
    code = bytes.fromhex("".join(line.partition(";")[0] for line in _X86_64.splitlines()))
    begin = _HEADER.size + _SEGMENT.size
    size = begin + len(code)
    # 64 bits, little end first; ET_EXEC, EM_X86_64; one PT_LOAD that can be read and executed.
    header = _HEADER.pack(
        b"\x7fELF\2\1\1", 2, 62, 1, _BASE + begin, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0
    )
    return header + _SEGMENT.pack(1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code


def told(report: bytes) -> list[tuple[int, int]]:
    """What it has told so far: (errno, pid) and (status, pid); nothing where somebody else tells, in other words."""
    if not report.startswith(_MARK):
        return []
    whole = range(0, len(report) - _RECORD + 1, _RECORD)
    return [(_number(report[at + 4 : at + 8]), _number(report[at + 8 : at + _RECORD])) for at in whole]


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder, signed=True)
