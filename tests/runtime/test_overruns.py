"""Why a shim ended its container."""

from __future__ import annotations

from nbcontainers.results import ENDED_FOR
from nbcontainers.runtime import overruns


def test_a_limit_is_told_as_people_write_it() -> None:
    """One second is no seconds; bytes in the largest unit that says them whole; what follows the beginning that front ends know."""
    assert overruns.BEGUN == ENDED_FOR
    assert overruns.of_time(1) == f"{ENDED_FOR}ran longer than its limit of 1 second"
    assert overruns.of_time(0.5).endswith(" 0.5 seconds")
    assert overruns.of_processes(20) == f"{ENDED_FOR}had more processes and threads than its limit of 20"
    for count, told in ((10 << 20, "10 MiB"), (3 << 30, "3 GiB"), (65536, "64 KiB"), (1000, "1000 bytes")):
        assert overruns.of_output(count) == f"{ENDED_FOR}wrote more than its limit of {told}"
