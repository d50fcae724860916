"""Earlier builds: which steps each had, and what each step was made of, so that the next build can say why it made one anew.

ROOT/cache/reasons/builds has a small file for each of the newest builds, ROOT/cache/reasons/steps one for each of the newest
steps, under its cache key. Both are bounded, and nothing but a sentence is lost with them: what cannot be written is not.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..linux import smallfiles
from ..oci.descriptor import Digest
from .reasons import Account, differences, sentence

_FOLDER = "reasons"
_MOST_BUILDS = 64
_MOST_STEPS = 512
_SLACK = 32  # how many more there may be before the oldest go
_ALIKE = 0.34  # the share of steps that two builds with no name in common have to share to be of one Dockerfile

ABOVE = "the step above was"
LOST = "its layer is no longer in the cache"
UNASKED = "the cache was not to be used"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a build: its stage, its text, and the key that it was found or kept under (of a FROM the chain ID)."""

    stage: str
    title: str
    key: str

    @property
    def keyword(self) -> str:
        """The name of its instruction, in capitals."""
        return self.title.split(maxsplit=1)[0].upper() if self.title else ""


@dataclass
class Earlier:
    """The earlier builds in a store, and the steps of the one that goes on, which ``called`` tells apart: its file and tags.

    ``steps`` are those that it came to, by their numbers: stages come to theirs at the same time.
    """

    root: Path
    called: tuple[str, ...] = ()
    planned: tuple[tuple[str, str], ...] = ()
    steps: dict[int, Step] = field(default_factory=dict)
    _near: Iterator[list[Step]] | None = None

    @property
    def _folder(self) -> str:
        return f"{self.root}/cache/{_FOLDER}"

    def why(self, place: int, now: Account, key: Digest, *, is_first: bool, above_is_new: bool) -> str:
        """Why a step is made anew; empty where no earlier build of this Dockerfile is known.

        Args:
            place: which of the planned steps it is.
            now: what it is made of.
            key: its cache key.
            is_first: it stands right on a base.
            above_is_new: the step that it goes on with was made anew too.

        """
        if self._read("steps", key.hex) is not None:
            return LOST
        clauses: list[str] = []
        for build in self.near():
            found = self._aligned(build, place)
            if found is None:
                clauses = clauses or [f"there was no such {self.planned[place][1].split(maxsplit=1)[0]} before"]
                continue
            before = self._account(found.key)
            if before is None:
                continue
            own = list(differences(before, now))
            if before.base == now.base:
                return sentence(own) or LOST
            below = "the base image changed" if is_first else ABOVE if above_is_new else "the step above changed"
            clauses = [*own, *([] if own else [below])]
            if own:
                continue  # perhaps an older build stood on the same tree
            return below
        return sentence(clauses)

    def near(self) -> Iterator[list[Step]]:
        """The earlier builds that are of this Dockerfile, by name or else by what they have in common, the newest first.

        No more of them are read than are asked for, most often one.
        """
        self._near, found = itertools.tee(self._alike() if self._near is None else self._near)
        return found

    def _alike(self) -> Iterator[list[Step]]:
        titles, others = _titles(self.planned), list[list[Step]]()
        for data in self.builds():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                steps = [Step(*map(str, row)) for row in data["steps"]]
                if set(self.called) & set(data["called"]):
                    yield steps
                    continue
                theirs = _titles([(one.stage, one.title) for one in steps])
                if len(titles & theirs) / max(len(titles), len(theirs), 1) >= _ALIKE:
                    others.append(steps)
        yield from others

    def made(self, key: Digest, account: Account) -> None:
        """Remember what a step was made of."""
        self._write("steps", key.hex, account.to_json(), _MOST_STEPS)

    def ended(self) -> None:
        """Remember the steps of this build, as far as it came. One that is known already becomes the newest."""
        if len(self.steps) < 2:
            return
        steps = [(one.stage, one.title, one.key) for _, one in sorted(self.steps.items())]
        written = {"called": self.called, "steps": steps}
        name = hashlib.sha256(json.dumps(written).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        try:
            os.utime(f"{self._folder}/builds/{name}")
        except OSError:
            self._write("builds", name, written, _MOST_BUILDS)

    def _aligned(self, build: Sequence[Step], place: int) -> Step | None:
        """The step of an earlier build that stood where one stands now: the same text, or another in its place."""
        stage, title = self.planned[place]
        ours = [one for one in self.planned if one[0] == stage]
        theirs = [one for one in build if one.stage == stage]
        index = sum(one[0] == stage for one in self.planned[:place])
        matcher = difflib.SequenceMatcher(None, [one[1] for one in ours], [one.title for one in theirs], autojunk=False)
        for kind, first, last, begin, end in matcher.get_opcodes():
            if first <= index < last and kind in ("equal", "replace"):
                found = begin + index - first
                same = found < end and theirs[found].keyword == title.split(maxsplit=1)[0].upper()
                return theirs[found] if same else None
        return None

    def _account(self, key: str) -> Account | None:
        data = self._read("steps", key.removeprefix("sha256:"))
        try:
            return None if data is None else Account.from_json(data)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def builds(self) -> Iterator[Any]:
        """What was written of each build, the newest first."""
        try:
            files = sorted(Path(f"{self._folder}/builds").iterdir(), key=_age, reverse=True)
        except OSError:
            return
        for file in files:
            if (data := self._read("builds", file.name)) is not None:
                yield data

    def _read(self, kind: str, name: str) -> Any:
        try:
            return json.loads(smallfiles.read(f"{self._folder}/{kind}/{name}"))
        except (OSError, ValueError):
            return None

    def _write(self, kind: str, name: str, data: object, most: int) -> None:
        folder, text = Path(f"{self._folder}/{kind}"), json.dumps(data, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            try:
                smallfiles.replace(f"{folder}/{name}", text)
            except FileNotFoundError:  # the first of its kind
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                smallfiles.replace(f"{folder}/{name}", text)
            if len(os.listdir(folder)) > most + _SLACK:
                for file in sorted(folder.iterdir(), key=_age)[:-most]:
                    file.unlink(missing_ok=True)


def titles(root: Path) -> dict[str, str]:
    """The texts of the steps that earlier builds had, by the hexadecimal digits of their cache keys."""
    found: dict[str, str] = {}
    for data in Earlier(root).builds():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            for _, title, key in data["steps"]:
                found.setdefault(str(key).removeprefix("sha256:"), str(title))
    return found


def forget(root: Path) -> None:
    """Forget all earlier builds."""
    shutil.rmtree(root / "cache" / _FOLDER, ignore_errors=True)


def _titles(steps: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """What tells Dockerfiles apart: many begin with the same FROM."""
    return {one for one in steps if not one[1].upper().startswith("FROM ")}


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
