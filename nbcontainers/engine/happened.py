"""What happened in a store, read from the files that all who act on it add to: no daemon has to be there."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..results import Happening
from ..runtime.happenings import NAME, OLD
from .selection import Selection

FILTERS = ("container", "event", "image", "label", "label!", "type")
_LOOK_AGAIN_S = 0.1


def read(
    root: Path, filters: Sequence[str] = (), *, since: float | None = None, until: float | None = None
) -> Iterator[Happening]:
    """What happened from ``since`` on (else from now on), as it comes, until ``until``; for ever where that is None.

    A line that is not whole (a machine that stopped) is passed over.

    Raises:
        NBContainersError: a filter that is none.
    """
    chosen = Selection.parse(filters, FILTERS)
    begin = time.time() if since is None else since

    def fits(one: Happening) -> bool:
        words = dict(one.attributes)
        image = one.id if one.kind == "image" else words.get("image", "")
        return (
            one.time >= begin
            and (until is None or one.time <= until)
            and _any(chosen.get("type"), lambda word: word == one.kind)
            and _any(chosen.get("event"), lambda word: one.action == word or one.action.startswith(f"{word}:"))
            and _any(
                chosen.get("container"),
                lambda word: one.kind == "container" and (one.id.startswith(word) or words.get("name") == word),
            )
            and _any(chosen.get("image"), lambda word: word in (image, image.partition(":")[0], words.get("name")))
            and chosen.has_labels(words)
        )

    yield from filter(fits, _all(root, until))


def _any(words: Sequence[str], fits: Callable[[str], bool]) -> bool:
    return not words or any(map(fits, words))


def _all(root: Path, until: float | None) -> Iterator[Happening]:
    """Everything that is there, and then what comes."""
    path = root / NAME
    with contextlib.suppress(FileNotFoundError), open(root / OLD, "rb") as file:
        for line in file:
            yield from _parsed(line)
    while True:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below, when another has its place
        except FileNotFoundError:
            if until is not None and time.time() >= until:
                return
            time.sleep(_LOOK_AGAIN_S)
            continue
        with file:
            has_moved = False
            while True:
                line = file.readline()
                if line.endswith(b"\n"):
                    yield from _parsed(line)
                    continue
                file.seek(-len(line), os.SEEK_CUR)
                if has_moved:
                    break
                has_moved = not _is_at(path, file.fileno())
                if until is not None and time.time() >= until and not has_moved:
                    return
                if not has_moved:
                    time.sleep(_LOOK_AGAIN_S)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _parsed(line: bytes) -> Iterator[Happening]:
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        data = json.loads(line)
        yield Happening(
            time=data["time"] / 1e9,
            kind=data["type"],
            action=data["action"],
            id=data["id"],
            attributes=tuple(sorted(data["attributes"].items())),
        )
