"""Permissions as ``chmod`` takes them: octal, or symbolic as in ``u=rwX,go-w``; nothing is masked.

Source: chmod(1), "File mode bits"; a word without ``u``, ``g``, ``o`` or ``a`` means all of them.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_SPECIAL = {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": stat.S_ISVTX}


def parse(text: str) -> Callable[[int], int]:
    """What a mode makes of a file's mode (with the bits of its type, which stay). ValueError for what is no mode."""
    if re.fullmatch(r"[0-7]+", text) and int(text, 8) <= 0o7777:
        wanted = int(text, 8)
        return lambda mode: stat.S_IFMT(mode) | wanted
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    found = [(set(clause[1]), _ACTION.findall(clause[2])) for clause in clauses if clause]
    if len(found) != len(clauses):
        raise ValueError(text)

    def apply(mode: int) -> int:
        for who, actions in found:
            for operator, permissions in actions:
                mode = _changed(mode, set("ugo") if not who or "a" in who else who, operator, permissions, bool(who))
        return mode

    return apply


def _changed(mode: int, who: set[str], operator: str, permissions: str, named: bool) -> int:
    bits = cleared = 0
    for one in who:
        shift = _SHIFTS[one]
        cleared |= 7 << shift | _SPECIAL[one]
        if permissions in _SHIFTS:
            bits |= (mode >> _SHIFTS[permissions] & 7) << shift
            continue
        for permission in permissions:
            if permission in _BITS:
                bits |= _BITS[permission] << shift
            elif permission == "X" and (stat.S_ISDIR(mode) or mode & 0o111):
                bits |= 1 << shift
            elif permission == "s" and one != "o":
                bits |= _SPECIAL[one]
            elif permission == "t" and (one == "o" or not named):
                bits |= stat.S_ISVTX
    match operator:
        case "+":
            return mode | bits
        case "-":
            return mode & ~bits
        case _:
            # As chmod(1) has it for folders: set-id bits that are not named stay.
            kept = mode & (stat.S_ISUID | stat.S_ISGID) if stat.S_ISDIR(mode) else 0
            return mode & ~cleared | bits | kept
