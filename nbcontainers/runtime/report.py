"""What a process that was to execute a command writes of it where that failed: its stage, an errno, words and an exit code.

It is read with care: where PRoot traces, whoever takes that over could write here. Imports only what keeps the zygote small.
"""

from __future__ import annotations

_BEGINS = b"\0"  # with which nothing else in a report begins
_LENGTH = 4
_DISORDER = "start", 0, "what was to start it has ended, and its report is in disorder", 125


def failure(stage: str, number: int, words: str, code: int) -> bytes:
    """The report of one."""
    told = f"{stage}\0{number}\0{code}\0{words}".encode("utf-8", "surrogateescape")
    return _BEGINS + len(told).to_bytes(_LENGTH, "little") + told


def read(report: bytes) -> tuple[str, int, str, int] | None:
    """(stage, errno, words, exit code) of the first that was told with ``failure``; None of nothing."""
    if not report:
        return None
    begin = len(_BEGINS) + _LENGTH
    told = report[begin : begin + int.from_bytes(report[len(_BEGINS) : begin], "little")]
    try:
        stage, number, code, words = told.decode("utf-8", "surrogateescape").split("\0", 3)
        return stage, int(number), words, int(code)
    except ValueError:
        return _DISORDER
