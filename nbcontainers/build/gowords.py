"""How Go prints values, and reads durations: the wording of history lines, which other tools read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..oci.image import Healthcheck

_NAMED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def quote(text: str) -> str:
    """``%q`` of a string."""
    return '"' + "".join(_sign(sign) for sign in text) + '"'


def quoted(words: Iterable[str]) -> str:
    """``%q`` of a list of strings."""
    return f"[{' '.join(map(quote, words))}]"


def listed(words: Iterable[str]) -> str:
    """``%v`` of a list of strings."""
    return f"[{' '.join(words)}]"


def duration(nanoseconds: int) -> str:
    """A ``time.Duration``: ``1m30s``, ``1.5s``, ``20ms``, ``0s``."""
    if nanoseconds < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if nanoseconds >= size:
                return f"{_decimal(nanoseconds, size)}{unit}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    written = f"{hours}h" if hours else ""
    written += f"{minutes}m" if hours or minutes else ""
    return written + f"{_decimal(rest, 10**9)}s"


def nanoseconds(text: str) -> int:
    """Nanoseconds of a duration as Go writes it: ``1h2m3.5s``. ValueError if it is none."""
    position, total = 0, 0.0
    for part in _DURATION.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if (position == 0 or position != len(text)) and text != "0":
        raise ValueError(text)
    return round(total)


def health(settings: Healthcheck) -> str:
    """``%q`` of a pointer to Docker's HealthcheckConfig."""
    times = (settings.interval, settings.timeout, settings.start_period, settings.start_interval)
    written = " ".join(quote(duration(time)) for time in times)
    return f"&{{{quoted(settings.test)} {written} {_rune(settings.retries)}}}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    fraction = f"{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def _sign(sign: str) -> str:
    if sign in _NAMED:
        return _NAMED[sign]
    if sign.isprintable():
        return sign
    code = ord(sign)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _rune(code: int) -> str:
    sign = chr(code) if code <= 0x10FFFF else "\ufffd"
    return {"'": "'\\''", '"': "'\"'"}.get(sign, f"'{_sign(sign)}'")
