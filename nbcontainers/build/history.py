"""When the lines of an image's history were made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from ..oci.image import History


def instant(seconds: float) -> str:
    """Seconds since the epoch as image configurations write them: RFC 3339, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def dated(base: tuple[History, ...], new: tuple[History, ...]) -> tuple[History, ...]:
    """A history in which every line has a time, without asking the clock: the same build always gives the same one.

    A new line that made no layer has the time of the last new layer before it; those before the first new layer have its
    time, and where no layer is new, that of the base's last line.
    """
    times = [line.created for line in new if line.created] or [line.created for line in base if line.created][-1:]
    latest = times[0] if times else ""
    lines = []
    for line in new:
        latest = line.created or latest
        lines.append(replace(line, created=latest))
    return (*base, *lines)
