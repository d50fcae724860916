"""A container's log as files: the one that is written, ``log``, and those before it, each named for where it begins.

An offset counts from the first byte that the container ever wrote to its log, whatever became of that: ``log.`` and twenty
digits is the file that begins there, and ``log`` begins where the last of them ends. So an offset stays true when a file makes
way for the next. The shim imports this: only what keeps the zygote small.
"""

from __future__ import annotations

import os

_DIGITS = 20


def older(folder: str, name: str) -> list[tuple[int, int]]:
    """(where it begins, its size) of each file before the one that is written, the oldest first."""
    found = []
    for entry in os.listdir(folder or "."):
        digits = entry[len(name) + 1 :]
        if entry.startswith(name + ".") and len(digits) == _DIGITS and digits.isdigit():
            try:
                found.append((int(digits), os.stat(f"{folder}/{entry}").st_size))
            except FileNotFoundError:  # it was the oldest, and just now too many
                continue
    return sorted(found)


def end(files: list[tuple[int, int]]) -> int:
    """Where the file after these begins."""
    return files[-1][0] + files[-1][1] if files else 0


def path(current: str, begin: int) -> str:
    """The name of an older file of the log ``current``."""
    return f"{current}.{begin:0{_DIGITS}}"
