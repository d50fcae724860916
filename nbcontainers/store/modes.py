"""Permissions as ``chmod`` takes them: octal, or symbolic as in ``u=rwX,go-w``; nothing is masked.

Source: BSD's setmode(3), whose rules BuildKit has: for others alone there is no ``s`` and no ``t``, ``=`` clears the set-id bits of
folders too, and ``X`` asks what the mode was at first. A word without ``u``, ``g``, ``o`` or ``a`` means all of them.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}
_WHOM = {"u": stat.S_ISUID | 0o700, "g": stat.S_ISGID | 0o070, "o": 0o007}
_ALL = stat.S_ISUID | stat.S_ISGID | 0o777


def parse(text: str) -> Callable[[int], int]:
    """What a mode makes of a file's mode (with the bits of its type, which stay). ValueError for what is no mode."""
    if re.fullmatch(r"[0-7]+", text) and int(text, 8) <= 0o7777:
        wanted = int(text, 8)
        return lambda mode: stat.S_IFMT(mode) | wanted
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    found = [(clause[1], _ACTION.findall(clause[2])) for clause in clauses if clause]
    if len(found) != len(clauses):
        raise ValueError(text)

    def apply(mode: int) -> int:
        runs = stat.S_ISDIR(mode) or mode & 0o111
        for words, actions in found:
            whom = 0
            for word in words:
                whom |= _ALL if word == "a" else _WHOM[word]
            for operator, permissions in actions:
                mode = _changed(mode, whom, operator, permissions, 0o111 if runs else 0)
        return mode

    return apply


def _changed(mode: int, whom: int, operator: str, permissions: str, executable: int) -> int:
    """The mode after one action; ``whom`` are the bits that its word speaks of, 0 where it has none."""
    cleared, bits = whom or _ALL, 0
    if permissions in _SHIFTS:
        cleared &= 0o777
        bits = (mode >> _SHIFTS[permissions] & 7) * 0o111 & cleared
    elif permissions:
        only_others = whom == _WHOM["o"]
        for permission in permissions:
            if permission in _BITS:
                bits |= _BITS[permission]
            elif permission == "X":
                bits |= executable
            elif permission == "s" and not only_others:
                bits |= stat.S_ISUID | stat.S_ISGID
            elif permission == "t" and not only_others:  # the sticky bit speaks of itself: ``=t`` leaves the others
                bits |= stat.S_ISVTX
                whom |= stat.S_ISVTX
        cleared = whom or _ALL
        bits &= cleared
    if operator == "=":
        mode &= ~cleared
    return mode & ~bits if operator == "-" else mode | bits
