"""Why a shim ended its container, in words: it went beyond a limit that no kernel holds. Imports only what keeps the zygote small."""

from __future__ import annotations

BEGUN = "ended because it "  # as ENDED_FOR of ``results``, which is more than the zygote may import
OF_DESCRIPTORS = f"{BEGUN}had too many files open to tell whether it kept to its limit of memory"
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def of_time(seconds: float) -> str:
    """It ran for longer than these."""
    return f"{BEGUN}ran longer than its limit of {seconds:g} second{'s' * (seconds != 1)}"


def of_processes(count: int) -> str:
    """It had more processes at once than these, threads among them, as the kernel counts."""
    return f"{BEGUN}had more processes and threads than its limit of {count}"


def of_output(count: int) -> str:
    """It wrote more bytes than these, told in the largest unit of which they are whole ones."""
    size, unit = next((pair for pair in _UNITS if count and count % pair[0] == 0), (1, "bytes"))
    return f"{BEGUN}wrote more than its limit of {count // size} {unit}"
