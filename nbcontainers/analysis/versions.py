"""Which of two versions is the later one, by the rules of those who made them.

A version is cut into parts, and each part has a rank that says what it means against the end of the other version: ``1.0~rc1``
comes before ``1.0``, ``1.0.1`` behind it.

Sources: deb-version(7); rpm-version(7); apk-package(5), "pkgver"; PEP 440.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..results import Packaging

_Key = list[tuple[int, ...] | tuple[int, str]]

_RPM = re.compile(r"(?P<number>\d+)|(?P<word>[A-Za-z]+)|(?P<before>~)|(?P<behind>\^)")
_APK = re.compile(
    r"(?P<number>\d+)|_(?P<before>alpha|beta|pre|rc)|_(?P<behind>cvs|svn|git|hg|p)|(?P<build>-r)|(?P<word>[a-z])"
)
_PYTHON = re.compile(
    r"(?P<number>\d+)|(?P<before>dev|alpha|beta|preview|pre|rc|[abc](?=[-_.]?\d))|(?P<behind>post|rev|r)|(?P<local>\+)|(?P<word>[a-z]+)"
)
_BEFORE = {"dev": -9, "a": -8, "alpha": -8, "b": -7, "beta": -7, "c": -5, "pre": -6, "preview": -5, "rc": -5, "~": -9}
_BEHIND = {"cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}
_LONGEST = 300  # signs of a version that are looked at: no real one is longer
_END, _BUILD, _LOCAL, _LATER, _WORD, _NUMBER = 0, 1, 1, 2, 3, 4


def later(packaging: Packaging, version: str, than: str) -> bool:
    """True if a version comes behind another one."""
    key = _KEYS[packaging]
    return key(version[:_LONGEST]) > key(than[:_LONGEST])


def _debian(version: str) -> list[_Key]:
    epoch, colon, rest = version.partition(":")
    number, rest = (epoch, rest) if colon and epoch.isdecimal() else ("0", version)
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = revision, ""
    return [[(int(number),)], _letters(upstream), _letters(revision)]


def _letters(text: str) -> _Key:
    """Runs of other signs and of digits in turn: a tilde before the end, letters behind it, all else behind letters."""
    key: _Key = []
    for others, digits in re.findall(r"([^\d]*)(\d*)", text):
        key.append((*(-1 if sign == "~" else ord(sign) + 256 * (not sign.isalpha()) for sign in others), 0))
        key.append((int(digits or 0),))
    return key


def _rpm(version: str) -> list[_Key]:
    epoch, colon, rest = version.partition(":")
    number, rest = (epoch, rest) if colon and epoch.isdecimal() else ("0", version)
    return [[(int(number),)], *(_ranked(_RPM, part) for part in rest.rsplit("-", 1))]


def _apk(version: str) -> list[_Key]:
    return [_ranked(_APK, version)]


def _python(version: str) -> list[_Key]:
    epoch, mark, rest = version.lower().partition("!")
    number, rest = (epoch, rest) if mark and epoch.isdecimal() else ("0", version.lower())
    return [[(int(number),)], _ranked(_PYTHON, re.sub(r"(\.0+)+(?!\.?\d)", "", rest.removeprefix("v")))]


def _ranked(parts: re.Pattern[str], version: str) -> _Key:
    key: _Key = []
    for part in parts.finditer(version):
        match part.lastgroup:
            case "number":
                key.append((_NUMBER, int(part[0])))
            case "word":
                key.append((_WORD, part[0]))
            case "before":
                key.append((_BEFORE[part["before"]],))
            case "behind":
                key.append((_LATER, _BEHIND.get(part["behind"], 0)))
            case _:
                key.append((_BUILD,))
    return [*key, (_END,)]


_KEYS: dict[Packaging, Callable[[str], list[_Key]]] = {
    "dpkg": _debian,
    "rpm": _rpm,
    "apk": _apk,
    "python": _python,
    "conda": _python,
}
