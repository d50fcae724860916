"""What a server wants to see before it answers: the WWW-Authenticate header, read as it is written in the wild.

Source: RFC 9110, sections 5.6 and 11; github.com/distribution/distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_SPACE = re.compile(r"[ \t,]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*(?!=)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: its scheme in lower case, and its parameters by names in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all WWW-Authenticate headers of an answer, in their order; what cannot be read ends its header."""
    return tuple(challenge for header in headers for challenge in _parse(header))


def _parse(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] = {}
    place = 0
    while True:
        place = _end(_SPACE, header, place)
        name = _TOKEN.match(header, place)
        if name is None:
            return found
        place = name.end()
        equals = _EQUALS.match(header, place)
        if equals is None or not found:
            parameters = {}
            found.append(Challenge(name[0].lower(), parameters))
            if not _is_parameter(header, place):
                place = _end(_TOKEN68, header, place)
            continue
        value = _QUOTED.match(header, equals.end()) or _TOKEN.match(header, equals.end())
        if value is None:
            return found
        text = re.sub(r"\\(.)", r"\1", value[1]) if value.re is _QUOTED else value[0]
        parameters.setdefault(name[0].lower(), text)
        place = value.end()


def _is_parameter(header: str, place: int) -> bool:
    """True if what follows a scheme is ``name=value``, and so no token68 (of which ``=`` ends some)."""
    name = _TOKEN.match(header, _end(_SPACE, header, place))
    equals = _EQUALS.match(header, name.end()) if name else None
    return equals is not None and equals.end() < len(header) and header[equals.end()] not in ", \t"


def _end(pattern: re.Pattern[str], header: str, place: int) -> int:
    match = pattern.match(header, place)
    return match.end() if match else place
