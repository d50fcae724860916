"""Landlock: what of the host's files a process and all that it starts may open, and whom they may signal.

Nobody needs a privilege for it, and nobody gets rid of it again. Imports only what keeps the zygote small.

Source: Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1  # LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE = 1 << 14
_ALL = (
    (1, (1 << 13) - 1),
    (2, 1 << 13),
    (3, _TRUNCATE),
)  # from which ABI on which rights are known; those of devices are not asked
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_SCOPES = (6, 1 | 2)  # abstract Unix sockets, signals
_READ = _EXECUTE | _READ_FILE | _READ_DIR


def version() -> int:
    """The ABI that the kernel has: 0 where there is no Landlock, or nobody lets us have it."""
    try:
        return _call(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0


def keeps_signals(abi: int) -> bool:
    """Whether who is restricted can send no signal to a process outside, nor reach an abstract socket there."""
    return abi >= _SCOPES[0]


def restrict(abi: int, rules: Iterable[tuple[str, bool]]) -> None:
    """Let this process, and all that it will start, open nothing but what lies below these paths: (path, whether it may be written).

    What is not there is passed over. Needs no_new_privs, or CAP_SYS_ADMIN.
    """
    handled = sum(rights for since, rights in _ALL if abi >= since)
    scopes = _SCOPES[1] if keeps_signals(abi) else 0
    words = [handled, *([0] if abi >= 4 else []), *([scopes] if scopes else [])]  # files, ports, scopes
    attributes = b"".join(word.to_bytes(8, sys.byteorder) for word in words)
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path, is_writable in rules:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except (FileNotFoundError, PermissionError):
                continue
            rights = handled if is_writable else _READ
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= _OF_FILES
            _call(
                _ADD,
                ruleset,
                _PATH_BENEATH,
                (handled & rights).to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder),
                0,
            )
            os.close(place)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _call(*words: object) -> int:
    answer: int = _syscall(*words)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
