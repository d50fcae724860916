"""Which paths below a folder are meant: patterns that take in and patterns that leave out, as ``.dockerignore`` has them.

A rule is a regular expression for a whole relative path, and whether it is an exception; what it says of a folder holds for
all below it, and the last rule that matches decides. A rule that would change nothing is not asked, and so says nothing of what
is below either.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

Rule = tuple[str, bool]


class Picking:
    """Asked of each path of a walk, a folder before what is in it."""

    def __init__(self, include: Sequence[Rule], exclude: Sequence[Rule]) -> None:
        self._include = _Rules(include)
        self._exclude = _Rules(exclude)

    @property
    def picks_all(self) -> bool:
        """True where there is nothing to ask."""
        return not (self._include.rules or self._exclude.rules)

    def picks(self, path: bytes) -> bool:
        """Whether a path is meant."""
        included = self._include.match(path)
        excluded = self._exclude.match(path)
        return (included or not self._include.rules) and not excluded


class _Rules:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = [(re.compile(text, re.DOTALL), exception) for text, exception in rules]
        self._states: dict[bytes, tuple[bool, ...]] = {b"": (False,) * len(rules)}

    def match(self, path: bytes) -> bool:
        if not self.rules:
            return False
        above = self._states.get(path.rpartition(b"/")[0], self._states[b""])
        text, matched, state = os.fsdecode(path), False, []
        for (expression, exception), inherited in zip(self.rules, above, strict=True):
            here = inherited or (exception == matched and expression.fullmatch(text) is not None)
            state.append(here)
            if here:
                matched = not exception
        self._states[path] = tuple(state)
        return matched
