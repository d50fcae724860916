"""Which containers there are and what they are called: a folder each, and a symbolic link for each name.

A name is claimed by making its link, which the kernel lets only one process do.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
from collections import deque
from collections.abc import Collection
from pathlib import Path

from ..errors import Conflict, NotFound
from ..results import ContainerState
from . import options

DEPARTED = 32  # containers that are remembered when they are gone
_TOLD = 40  # digits of an ID that a link has: ext4 keeps one that is shorter than 60 in its inode, without a block to write and to free

_MOODS = (
    "able agile amber apt bold brave bright brisk calm candid civil clear clever cosy deft eager early fair fine fleet fond frank free "
    "fresh gentle glad golden grand green happy hardy honest humble keen kind light lively lucid lucky merry mild modest neat nimble "
    "noble open patient placid plucky polite proud quick quiet ready sharp sober steady sunny swift tidy trusty vivid warm wise witty"
).split()
_MINDS = (
    "banzhaf blackwell borg cantor cerf church clark codd conway curie daubechies diffie dijkstra engelbart erdos euler floyd franklin "
    "gauss godel goldberg hamilton hamming hilbert hoare hopper iverson johnson kay keller kernighan kleene knuth kolmogorov lamarr "
    "lamport liskov lovelace maxwell mccarthy meitner milner minsky naur noether perlman pike postel ritchie rivest shamir shannon "
    "stallman sutherland thompson torvalds turing ulam wiles wing wirth yao zuse"
).split()


class ContainerNames:
    """The containers of one store: ``ROOT/containers/ID`` and ``ROOT/names/NAME``.

    ``departed`` are the last states of those that this process has removed, the latest last: nothing on disk tells of them.
    """

    def __init__(self, root: Path) -> None:
        self.departed: deque[ContainerState] = deque(maxlen=DEPARTED)
        self.folders = root / "containers"
        self._names = root / "names"
        self.folders.mkdir(exist_ok=True)
        self._names.mkdir(exist_ok=True)

    def ids(self) -> tuple[str, ...]:
        """Every container's ID, sorted."""
        return tuple(sorted(name for name in os.listdir(self.folders) if not name.startswith(".")))

    def folder(self, container: str) -> Path:
        """Where a container's state lies."""
        return self.folders / container

    def claim(self, container: str, name: str = "") -> str:
        """Give a container a name, its own choice where none is wanted, and return it.

        Raises:
            Conflict: another container has the name; it says which.
            NBContainersError: the name is not well formed.
        """
        if name:
            return self._link(container, options.name(name))
        while True:
            with contextlib.suppress(Conflict):
                return self._link(container, f"{secrets.choice(_MOODS)}_{secrets.choice(_MINDS)}")

    def release(self, container: str, name: str) -> None:
        """Take a name away from a container; nothing happens if another has it by now, or where it got none."""
        if not name:
            return
        link = f"{self._names}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if container.startswith(os.readlink(link)):
                os.unlink(link)

    def name(self, container: str) -> str:
        """The name that a container has by its link: empty where it has none."""
        for link in self._names.iterdir():
            with contextlib.suppress(OSError):
                if holder_of(link, (container,)):
                    return link.name
        return ""

    def find(self, word: str) -> str:
        """The ID of the container that a name, an ID or the beginning of an ID stands for; one slash may be before it.

        Raises:
            NotFound: there is none; the hint names the nearest.
            Conflict: the beginning is that of several.
        """
        asked, word = word, word.removeprefix("/")  # as inspect shows names
        named = {}
        for name in os.listdir(self._names):
            with contextlib.suppress(FileNotFoundError):  # released meanwhile
                named[name] = os.readlink(self._names / name)
        known = self.ids()  # after the links, for a container is there before its name
        if word in known:
            return word
        if holder := _beginning_with(named.get(word, ""), known):
            return holder
        matching = [container for container in known if word and container.startswith(word)]
        if len(matching) > 1:
            raise Conflict(f"{word!r} is the beginning of {len(matching)} containers' IDs", hint="write more of the ID")
        if matching:
            return matching[0]
        near = difflib.get_close_matches(word, named, n=1)
        raise NotFound(
            f"no such container: {asked!r}",
            hint=f"did you mean {near[0]!r}?" if near else "'nbcontainers ps -a' lists them",
        )

    def _link(self, container: str, name: str) -> str:
        link = f"{self._names}/{name}"
        while True:
            try:
                os.symlink(container[:_TOLD], link)
                return name
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    told = os.readlink(link)  # before the IDs are listed, for a container is there before its name
                    if holder := _beginning_with(told, self.ids()):
                        raise Conflict(
                            f"the name {name!r} is taken by container {holder[:12]}",
                            hint=f"choose another, remove it with 'nbcontainers rm {name}', or take the name over with --replace",
                        ) from None
                    os.unlink(link)  # its container is gone: whoever sees it repairs it


def holder_of(link: str | Path, known: Collection[str]) -> str:
    """The ID, of the ``known`` ones, of the container that a link stands for; empty where it is gone. OSError where it is no link."""
    return _beginning_with(os.readlink(link), known)


def _beginning_with(text: str, known: Collection[str]) -> str:
    return next((container for container in known if text and container.startswith(text)), "")
