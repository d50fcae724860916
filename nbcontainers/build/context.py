"""The build context: a folder, without what its ``.dockerignore`` leaves out, and what the sources of a COPY name in it.

Only what COPY and ADD name is ever looked at. Every path is resolved inside the folder: a link or a ``..`` never leads out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from ..errors import NBContainersError, NotFound
from ..oci.descriptor import Digest
from ..store.picking import Picking, Rule
from .digests import Entry, FileDigests
from .ignore import Ignore, Matched
from .source import did_you_mean
from .wildcards import compiled, has_wildcards

_LINKS = 255
_BEGINNING = 16  # hexadecimal digits of a digest that tell two contents apart
_WITH_CONTENT = (stat.S_IFREG, stat.S_IFLNK)
EMPTY = Digest.of(b"")
NOTHING: tuple[Rule, ...] = (("(?!)", False),)  # a rule that matches no path
Run = tuple[str, list[Entry]]  # entries of one folder, behind what stands before each name ("" or "FOLDER/")


@dataclass(frozen=True, slots=True)
class Selected:
    """One file or folder that a source names.

    ``name`` is the path as it was found (its last part names the copy in a folder), ``path`` the same with links followed,
    both relative to the context ("" is the context itself). ``excluded`` are the paths below a folder that are ignored; of the
    rest only what ``include`` and ``exclude`` pick is meant (see ``store.picking``), with the folders that lead there.
    ``digest`` stands for all of it: names, types, modes, contents and link targets, but neither times nor owners.
    """

    name: str
    path: str
    folder: bool
    excluded: tuple[str, ...]
    digest: Digest
    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()


class Context:
    """A folder on this host as a build context.

    Args:
        root: the folder.
        ignore: what is left out.
        digests: the folder in which digests of files are kept for the next build; None for nowhere.

    """

    def __init__(self, root: Path, *, ignore: Ignore | None = None, digests: Path | None = None) -> None:
        self.root = root.absolute()
        self.ignore = ignore or Ignore()
        self._kept = digests
        self._digests: FileDigests | None = None

    @classmethod
    def open(cls, root: Path, *, dockerfile: Path | None = None, digests: Path | None = None) -> Context:
        """The folder with its ``.dockerignore``, or the ``NAME.dockerignore`` beside a Dockerfile, which counts alone.

        Raises:
            NotFound: there is no such folder.
            NBContainersError: the ignore file has a line that is no pattern.

        """
        if not root.is_dir():
            kind = "is no folder" if root.exists() else "is not there"
            raise NotFound(
                f"the context {str(root)!r} {kind}", hint="the context is the folder that COPY takes files from"
            )
        own = [dockerfile.with_name(f"{dockerfile.name}.dockerignore")] if dockerfile else []
        for file in (*own, root / ".dockerignore"):
            try:
                return cls(root, ignore=Ignore.parse(file.read_text(errors="replace")), digests=digests)
            except FileNotFoundError:
                continue
            except ValueError as error:
                raise NBContainersError(
                    f"{file.name} {error}", hint="see docs.docker.com, Dockerignore file"
                ) from error
        return cls(root, digests=digests)

    def select(self, source: str, exclude: Sequence[str] = ()) -> tuple[Selected, ...]:
        """What a source of COPY names, in the order of names; () where a wildcard matches nothing.

        Args:
            source: a path, perhaps with wildcards.
            exclude: patterns of what is left out of folders, relative to each.

        Raises:
            NotFound: there is no such file, or it is ignored.

        """
        path, left_out = clean(source), Ignore.of(exclude).rules
        if has_wildcards(path):
            self.folder_of(source)  # has to be there, though what is looked for in it may be missing
            return tuple(self._selected(name, self._found(name, name), (), left_out) for name in self._matching(path))
        return (self._selected(path, self._found(source, path), (), left_out),)

    def folder_of(self, pattern: str) -> str:
        """The folder in which a pattern is looked for, with links followed: what stands before its first part with wildcards."""
        folder = re.split(r"[*?\[]", clean(pattern))[0].rpartition("/")[0]
        return self._found(folder, folder, folder=True) if folder else ""

    def path_of(self, source: str) -> str:
        """A source's path with links followed. NotFound where it is not there, or ignored."""
        return self._found(source, clean(source))

    def paths(self, source: str) -> Iterator[str]:
        """The paths with links followed of all that a source names; none where it names nothing."""
        with contextlib.suppress(NotFound):
            for name in self._matching(clean(source)) if has_wildcards(source) else [source]:
                yield self.path_of(name)

    def select_parents(self, source: str, exclude: Sequence[str] = ()) -> tuple[Selected, ...]:
        """What a source of COPY --parents names, as parts of the folder from which on its own folders are kept.

        That is what stands before ``/./``, else the context. In the rest ``**`` is any number of folders; it may match nothing.

        Raises:
            NotFound: there is no such folder before the ``/./``.

        """
        include = Ignore.of([clean(below(source))]).rules or NOTHING
        left_out = Ignore.of(exclude).rules
        if not has_wildcards(above(source)):
            self._found(above(source), clean(above(source)), folder=True)
        return tuple(
            self._selected(one.name, one.path, include, left_out) for one in self.select(above(source)) if one.folder
        )

    def is_empty(self, selected: Selected) -> bool:
        """Whether nothing of a folder is meant."""
        return selected.folder and next(self._picked(selected), None) is None

    def _found(self, source: str, path: str, *, folder: bool = False) -> str:
        """The path with its links followed: NotFound where it is not there, or ignored."""
        try:
            real = self.resolve(path)
            self._lstat(f"{real}/." if folder else real)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(source, path) from None
        if not self._included(real):
            raise NotFound(
                f"{source!r} is left out of the context by .dockerignore",
                hint=f"add the line !{real} to .dockerignore",
            )
        return real

    def rows(self, selected: Selected) -> list[tuple[str, str]]:
        """Each file to copy: where it is on this host, and its name in the destination; of a folder what is below it."""
        if not selected.folder:
            return [(self._host(selected.path), selected.name.rpartition("/")[2])]
        start = len(selected.path) + 1 if selected.path else 0
        return [
            (self._host(prefix + name), (prefix + name)[start:])
            for prefix, run in self._picked(selected)
            for name, _ in run
        ]

    def listing(self, selected: Selected) -> Iterator[tuple[str, str]]:
        """Every file and folder that is meant, by its path in the context, with its mode and the beginning of its digest."""
        runs = self._picked(selected) if selected.folder else [("", [(selected.path, self._lstat(selected.path))])]
        for path, status in ((prefix + name, status) for prefix, run in runs for name, status in run):
            mode = f"{stat.S_IMODE(status.st_mode):o}"
            content = ""
            if self._digests is not None and stat.S_IFMT(status.st_mode) in _WITH_CONTENT:
                content = self._digests.of(path, status).removeprefix("sha256:")
            yield path, f"{mode} {content[:_BEGINNING]}"

    def save(self) -> None:
        """Keep the digests for the next build."""
        if self._digests is not None:
            self._digests.save()

    def resolve(self, path: str) -> str:
        """The path with every link on its way followed inside the context. FileNotFoundError where something is missing."""
        done: list[str] = []
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        followed = 0
        while left:
            part = left.pop()
            if part == "..":
                del done[-1:]
                continue
            status = os.lstat(self._host("/".join((*done, part))))
            if not stat.S_ISLNK(status.st_mode):
                done.append(part)
                continue
            followed += 1
            if followed > _LINKS:
                raise NotFound(f"{path!r} has too many symbolic links on its way", hint="do they go round in a circle?")
            target = os.readlink(self._host("/".join((*done, part))))
            if target.startswith("/"):
                done = []
            left += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return "/".join(done)

    def _host(self, path: str) -> str:
        return f"{self.root}/{path}" if path else str(self.root)

    def _lstat(self, path: str) -> os.stat_result:
        return os.lstat(self._host(path))

    def _included(self, path: str) -> bool:
        """Whether it is in the context: not ignored, or a folder with something in it that is not."""
        if not path or not self.ignore.ignores(path):
            return True
        if not self.ignore.may_except_below(path) or not stat.S_ISDIR(self._lstat(path).st_mode):
            return False
        return any(True for _ in self._walk(path, self._state(path), []))

    def _state(self, path: str) -> Matched:
        state, parts = self.ignore.nothing, path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            _, state = self.ignore.below("/".join(parts[:depth]), state)
        return state

    def _listed(self, path: str) -> list[Entry]:
        """What is in a folder, by the bytes of the names. By a descriptor: the kernel then looks up no path for each."""
        folder = os.open(self._host(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(folder) as listed:
                found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in listed]
        finally:
            os.close(folder)
        # Text and bytes have one order but for names that are no UTF-8 or lie beyond the first 65,536 characters.
        plain = "".join(name for name, _ in found).isascii()
        found.sort(key=itemgetter(0) if plain else lambda one: os.fsencode(one[0]))
        return found

    def _walk(self, path: str, state: Matched, excluded: list[str]) -> Iterator[Run]:
        """Everything below a folder that is in the context: what is in the folder, in the order of names, before what is below."""
        prefix = f"{path}/" if path else ""
        run = self._listed(path)
        below: list[tuple[str, Matched, list[Run]]] = []  # folders, with what was found in them already
        if not self.ignore.patterns:
            below = [(name, state, []) for name, status in run if stat.S_ISDIR(status.st_mode)]
        else:
            entries, run = run, []
            for entry in entries:
                name, status = entry
                folder = stat.S_ISDIR(status.st_mode)
                hidden, matched = self.ignore.below(prefix + name, state)
                kept: list[Run] = []
                if hidden:
                    inner: list[str] = []
                    if folder and self.ignore.may_except_below(prefix + name):
                        kept = list(self._walk(prefix + name, matched, inner))
                    if not kept:
                        excluded.append(prefix + name)
                        continue
                    excluded += inner
                run.append(entry)
                if folder:
                    below.append((name, matched, kept))
        if run:
            yield prefix, run
        for name, matched, kept in below:
            yield from kept or self._walk(prefix + name, matched, excluded)

    def _picked(self, selected: Selected, excluded: list[str] | None = None) -> Iterator[Run]:
        """What is meant below a folder, with the folders that lead there, a folder before what is in it."""
        path = selected.path
        walked = self._walk(path, self._state(path), [] if excluded is None else excluded)
        picking = Picking(selected.include, selected.exclude)
        if picking.picks_all:
            yield from walked
            return
        start = len(path) + 1 if path else 0
        waiting: dict[str, Run] = {}
        for prefix, run in walked:
            picked = []
            for entry in run:
                below = prefix + entry[0]
                if picking.picks(os.fsencode(below[start:])):
                    picked.append(entry)
                elif stat.S_ISDIR(entry[1].st_mode):
                    waiting[below] = (prefix, [entry])
            if picked:
                parts = prefix.split("/")
                for depth in range(1, len(parts) if waiting else 0):
                    above = "/".join(parts[:depth])
                    if above in waiting:
                        yield waiting.pop(above)
                yield prefix, picked

    def _matching(self, pattern: str) -> Iterator[str]:
        parts = pattern.split("/")
        first = next(index for index, part in enumerate(parts) if has_wildcards(part))
        try:
            base = self.resolve("/".join(parts[:first]))
            expression = compiled("/".join(parts[first:]))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return
        if not stat.S_ISDIR(self._lstat(base).st_mode):
            return
        yield from self._match_below(base, base, len(parts) - first, expression)

    def _match_below(self, base: str, path: str, depth: int, expression: re.Pattern[str]) -> Iterator[str]:
        """Paths ``depth`` levels below that match; only an exact number of levels can."""
        with os.scandir(self._host(path)) as listed:
            entries = sorted(listed, key=lambda entry: os.fsencode(entry.name))
        for entry in entries:
            below = f"{path}/{entry.name}" if path else entry.name
            relative = below[len(base) + 1 :] if base else below
            if depth == 1:
                if expression.fullmatch(relative) and self._included(below):
                    yield below
            elif entry.is_dir(follow_symlinks=False):
                yield from self._match_below(base, below, depth - 1, expression)

    def _selected(
        self, name: str, path: str, include: tuple[Rule, ...] = (), exclude: tuple[Rule, ...] = ()
    ) -> Selected:
        if self._digests is None:
            self._digests = FileDigests(self._kept, self.root)
        status = self._lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            content = self._digests.of(path, status) if stat.S_IFMT(status.st_mode) in _WITH_CONTENT else ""
            return Selected(name, path, False, (), Digest.of(f"{status.st_mode:o}\0{content}".encode()))
        total, excluded = hashlib.sha256(), list[str]()
        meant = Selected(name, path, True, (), EMPTY, include, exclude)
        start = len(path) + 1 if path else 0
        for prefix, run in self._picked(meant, excluded):
            total.update(os.fsencode(prefix[start:]) + b"\0" + self._digests.of_folder(prefix, run))
        return replace(meant, excluded=tuple(excluded), digest=Digest("sha256:" + total.hexdigest()))

    def _missing(self, source: str, path: str) -> NotFound:
        folder, _, name = path.rpartition("/")
        try:
            hint = did_you_mean(name, os.listdir(self._host(self.resolve(folder))))
        except OSError:
            hint = f"there is no folder {folder!r} in the context {str(self.root)!r}"
        if hint.startswith("known"):
            hint = f"the context is {str(self.root)!r}"
        return NotFound(f"{source!r} is not in the context", hint=hint)


def above(source: str) -> str:
    """The folder from which on a source of COPY --parents keeps folders: what stands before its first ``/./``, if it has one."""
    return source.partition("/./")[0] if "/./" in source else ""


def below(source: str) -> str:
    """What is looked for in that folder."""
    return source.partition("/./")[2] if "/./" in source else source


def clean(path: str) -> str:
    """A source's path relative to the root it is taken from: no ``..`` leads out of it."""
    return posixpath.normpath("/" + path).lstrip("/")
