"""``--filter`` as Docker has it: KEY=VALUE words that choose among images, containers and records."""

from __future__ import annotations

import datetime
import difflib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..errors import NBContainersError
from .kinds import several

PRUNING = ("until", "label", "label!")
"""The keys by which what is not used is chosen."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|ns|m|s|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s|d)")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the words of some ``--filter`` say, by their keys."""

    words: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, words: Sequence[str], known: Collection[str]) -> Selection:
        """Read the words; ``label!=KEY`` has the key ``label!``.

        Raises:
            NBContainersError: a word without ``=``, or a key that is not among the known ones.

        """
        found: dict[str, tuple[str, ...]] = {}
        for word in several("filters", words):
            key, value = pair(word)
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}=?" if near else "the keys are: " + ", ".join(sorted(known))
                raise NBContainersError(f"no filter {key!r}", hint=hint)
            found[key] = (*found.get(key, ()), value)
        return cls(found)

    def get(self, key: str) -> tuple[str, ...]:
        """The values of a key."""
        return self.words.get(key, ())

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """True if all of ``label=`` and none of ``label!=`` are among the labels."""
        return all(_labelled(labels, word) for word in self.get("label")) and not any(
            _labelled(labels, word) for word in self.get("label!")
        )

    def is_before(self, instant: float, *, now: float | None = None) -> bool:
        """True if an instant is before all that ``until=`` says."""
        return all(instant < moment(word, now=now) for word in self.get("until"))

    def truth(self, key: str) -> bool | None:
        """What ``KEY=true`` or ``KEY=false`` says; None where it is not given."""
        words = self.get(key)
        if not words:
            return None
        if words[-1].lower() not in ("true", "false", "1", "0"):
            raise NBContainersError(f"not true or false: {key}={words[-1]}", hint=f"write {key}=true")
        return words[-1].lower() in ("true", "1")


def pair(word: str) -> tuple[str, str]:
    """The key and the value of a word: NBContainersError where it is no ``KEY=VALUE``."""
    key, equals, value = word.partition("=")
    if not equals:
        raise NBContainersError(f"not a filter: {word!r}", hint="write KEY=VALUE, such as until=24h")
    return key.strip().lower(), value.strip()


def _labelled(labels: Mapping[str, str], word: str) -> bool:
    key, equals, value = word.partition("=")
    return key in labels and (not equals or labels[key] == value)


def moment(word: str, *, now: float | None = None) -> float:
    """An instant: a length of time back from now (``10m``, ``1h30m``, ``7d``), a date or time, or seconds since the epoch."""
    if _DURATION.fullmatch(word):
        length = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(word))
        return (time.time() if now is None else now) - length
    try:
        if re.fullmatch(r"\d+(\.\d+)?", word):
            return float(word)
        return datetime.datetime.fromisoformat(
            word
        ).timestamp()  # without a zone it is this machine's, as Docker has it
    except ValueError:
        raise NBContainersError(
            f"not a time: {word!r}", hint="such as 24h, 1h30m, 2024-05-01 or 2024-05-01T12:00:00Z"
        ) from None
