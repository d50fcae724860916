"""What a process that was to execute a command writes of it where that failed: its stage, an errno, words and an exit code.

It is read with care: where PRoot traces, whoever takes that over could write here. Imports only what keeps the zygote small.
"""

from __future__ import annotations

_BEGINS = b"\0"  # with which nothing else in a report begins
_DISORDER = "start", 0, "what was to start it has ended, and its report is in disorder", 125


def failure(stage: str, number: int, words: str, code: int) -> bytes:
    """The report of one."""
    return _BEGINS + f"{stage}\0{number}\0{code}\0{words}".encode("utf-8", "surrogateescape")


def read(report: bytes) -> tuple[str, int, str, int] | None:
    """(stage, errno, words, exit code) of what ``failure`` has made; None of nothing."""
    if not report:
        return None
    try:
        stage, number, code, words = report.removeprefix(_BEGINS).decode("utf-8", "surrogateescape").split("\0", 3)
        return stage, int(number), words, int(code)
    except ValueError:
        return _DISORDER
