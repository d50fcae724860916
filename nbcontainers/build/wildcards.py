"""Wildcards of COPY and ADD: the patterns of Go's ``filepath.Match``.

``*`` and ``?`` match all but a slash, ``[a-z]`` and ``[^a-z]`` one character, a backslash takes the next one as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache


def has_wildcards(path: str) -> bool:
    """Whether an unescaped ``*``, ``?`` or ``[`` stands in it."""
    return bool(re.search(r"[*?[]", re.sub(r"\\.", "", path)))


def is_direct(path: str) -> bool:
    """Whether its last part alone has wildcards."""
    return not has_wildcards(path.rstrip("/").rpartition("/")[0])


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression for ``fullmatch``. ValueError if it is not well formed.

    Source: Go's path/filepath, "func Match".
    """
    expression, position, end = "", 0, len(pattern)
    while position < end:
        sign = pattern[position]
        position += 1
        if sign == "*":
            expression += "[^/]*"
        elif sign == "?":
            expression += "[^/]"
        elif sign == "[":
            part, position = character_class(pattern, position)
            expression += part
        elif sign == "\\":
            if position == end:
                raise ValueError(f"{pattern!r} ends in an escape")
            expression += re.escape(pattern[position])
            position += 1
        else:
            expression += re.escape(sign)
    return re.compile(expression, re.DOTALL)


def character_class(pattern: str, position: int) -> tuple[str, int]:
    """The regular expression of a ``[...]`` whose first sign stands at ``position``, and the offset behind it."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges = ""
    while True:
        if position >= len(pattern):
            raise ValueError(f"{pattern!r} has a '[' that does not end")
        if pattern[position] == "]" and ranges:
            return f"[{'^' if negated else ''}{ranges}]", position + 1
        low, position = _sign(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _sign(pattern, position + 1)
        if low > high:
            raise ValueError(f"{pattern!r} has the range {low}-{high}, which holds nothing")
        ranges += f"{re.escape(low)}-{re.escape(high)}"


def _sign(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("\\", position):
        position += 1
    elif pattern[position : position + 1] in ("-", "]"):
        raise ValueError(f"{pattern!r} has {pattern[position]!r} where a character stands in '[...]'")
    if position >= len(pattern):
        raise ValueError(f"{pattern!r} has a '[' that does not end")
    return pattern[position], position + 1
