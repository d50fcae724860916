"""The files of an image as plain rows, before any byte is written: what stands where, and where its content comes from.

A file of the host's system keeps its name, with every symbolic link on the way to it (``/bin`` -> ``usr/bin``,
``awk`` -> ``/etc/alternatives/awk`` -> ``/usr/bin/mawk``). A file from anywhere else, a home folder say, is moved: its folder
gets a new name, and no trace of the old one stays in links, or in the content of what is moved.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from .programs import read

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix", "gnu", "run/current-system")
_LINKS = 40  # as the kernel: more are a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One path of the image, without a leading slash; a file's bytes are ``data``, or those of the host's file ``source``."""

    name: str
    kind: Literal["file", "directory", "symlink"]
    mode: int
    source: str = ""
    data: bytes = b""
    link: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What stands below the host's folder ``old`` stands below ``new`` in the image (both absolute)."""

    old: str
    new: str


@dataclass(slots=True, kw_only=True)
class Part:
    """The rows of one layer, by name; ``title`` is what the image's history says of it."""

    title: str
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(row.size for row in self.rows.values())


class Gathering:
    """Rows in one or several layers: a path that a layer below has is not given again.

    ``moves`` say where folders outside the system go; ``hidden`` are further names that content of what is moved must not
    show. ``seen`` are the host's files and folders that were read: as long as they stay the same, so do the rows.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.moves: list[Move] = []
        self.hidden: list[Move] = []
        self.seen: set[str] = set()
        self._placed: dict[str, Row] = {}

    def part(self, title: str) -> Part:
        """Begin the next layer."""
        self.parts.append(Part(title=title))
        return self.parts[-1]

    def __contains__(self, name: str) -> bool:
        return name.strip("/") in self._placed

    def get(self, name: str) -> Row | None:
        """The row of a path, in whichever layer."""
        return self._placed.get(name.strip("/"))

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A folder, and those above it."""
        self._add(Row(name=name.strip("/"), kind="directory", mode=mode))

    def file(self, name: str, data: bytes | str, mode: int = 0o644) -> None:
        """A file with these bytes."""
        data = data.encode() if isinstance(data, str) else data
        self._add(Row(name=name.strip("/"), kind="file", mode=mode, data=data, size=len(data)))

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._add(Row(name=name.strip("/"), kind="symlink", mode=0o777, link=target))

    def host(self, path: str) -> str:
        """Place a file of the host and every link on the way to it; its final name in the image (absolute).

        Raises:
            OSError: it is not there or cannot be read.

        """
        rest, here, links = path.split("/")[::-1], "", 0
        while rest:
            word = rest.pop()
            if word in ("", "."):
                continue
            if word == "..":
                here = posixpath.dirname(here).rstrip("/")
                continue
            candidate = f"{here}/{word}"
            mode = os.lstat(candidate).st_mode
            if stat.S_ISDIR(mode):
                here = candidate
            elif stat.S_ISLNK(mode):
                self.seen.add(candidate)
                links += 1
                if links > _LINKS:
                    raise OSError(f"too many links on the way to {path}")
                target = os.readlink(candidate)
                if not self._link_of_host(candidate, target):
                    final = os.path.realpath(path)  # the link leads out of the system: the file takes its place
                    return self.copy(final, self.moved(path))
                if target.startswith("/"):
                    here = ""
                rest += target.split("/")[::-1]
            else:
                return self.copy(candidate, self.moved(candidate))
        self.directory(self.moved(here))
        return self.moved(here)

    def copy(self, source: str, name: str, mode: int | None = None) -> str:
        """Place the content of a host's file under a name; its mode becomes 755 or 644."""
        status = os.stat(source)
        if not os.access(source, os.R_OK):
            raise PermissionError(f"{source} cannot be read")
        self.seen.add(source)
        if mode is None:
            mode = 0o755 if status.st_mode & 0o111 else 0o644
        row = Row(name=name.strip("/"), kind="file", mode=mode, source=source, size=status.st_size)
        if any(_below(source, move.old) for move in self.moves):
            data = relocated(source, [*self.moves, *self.hidden])
            if data is not None:
                row = Row(name=row.name, kind="file", mode=mode, data=data, size=len(data))
        self._add(row)
        return f"/{row.name}"

    def folder(self, source: str, name: str, keep: Callable[[str], bool] = lambda path: True) -> Iterator[str]:
        """Place a folder with all below it for which ``keep`` (of the path relative to it) holds; the sources of its files.

        A link that stays inside is kept; one that leads out is replaced by the file that it leads to. What cannot be
        read is left out.
        """
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            try:
                with os.scandir(posixpath.join(source, inside) if inside else source) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError:
                continue
            self.seen.add(posixpath.join(source, inside) if inside else source)
            self.directory(posixpath.join(name, inside))
            for entry in entries:
                relative = posixpath.join(inside, entry.name)
                if not keep(relative):
                    continue
                place = posixpath.join(name, relative)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(relative)
                elif entry.is_symlink() and self._inside(source, relative, os.readlink(entry.path)):
                    self.link(place, os.readlink(entry.path))
                elif entry.is_file() and os.access(entry.path, os.R_OK):
                    self.copy(entry.path, place)
                    yield entry.path

    def moved(self, path: str) -> str:
        """The name in the image of a path of the host: OSError where it is neither the system's nor moved anywhere."""
        move = self.move_of(path)
        if move:
            return posixpath.normpath(move.new + path[len(move.old) :])
        if path in ("", "/") or any(_below(path, f"/{root}") for root in SYSTEM):
            return path or "/"
        raise OSError(f"{path} is not a file of the system")

    def move_of(self, path: str) -> Move | None:
        """The move that a path of the host takes part in."""
        return next((move for move in self.moves if _below(path, move.old)), None)

    def belongs(self, path: str) -> bool:
        """Whether a path of the host has a name in the image."""
        try:
            self.moved(path)
        except OSError:
            return False
        return True

    @staticmethod
    def _inside(source: str, relative: str, target: str) -> bool:
        if target.startswith("/"):
            return False
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(relative), target))
        return not joined.startswith("..") and os.path.exists(posixpath.join(source, joined))

    def _link_of_host(self, path: str, target: str) -> bool:
        leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not self.belongs(path) or not self.belongs(leads_to):
            return False
        name, there = self.moved(path), self.moved(leads_to)
        stays = (
            not target.startswith("/") and posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) == there
        )
        self.link(name, target if stays else there)
        return True

    def _add(self, row: Row) -> None:
        if not row.name or row.name in self._placed:
            return
        above = posixpath.dirname(row.name)
        if above and above not in self._placed:
            self._add(Row(name=above, kind="directory", mode=0o755))
        self._placed[row.name] = row
        self.parts[-1].rows[row.name] = row


def relocated(source: str, moves: list[Move]) -> bytes | None:
    """The bytes of a moved file with the old folders' names replaced; None where they can be taken as they are.

    Only what is known to hold such names is looked into: ELF files (search paths, a Python's own prefix), the first line of
    scripts, and a Python's build variables. In an ELF file a C string can only become shorter, as conda does it too; its debugging
    sections, which name the folders of the build, are cut off.
    """
    name = posixpath.basename(source)
    if name.startswith("_sysconfigdata") and name.endswith(".py"):
        with open(source, "rb") as stream:
            return replaced_text(stream.read(), moves)
    with open(source, "rb") as stream:
        magic = stream.read(4)
        stream.seek(0)
        if magic[:2] == b"#!":
            return replaced_text(stream.readline(), moves) + stream.read()
        if magic != b"\x7fELF":
            return None
        data = stream.read()
    return replaced_strings(without_sections(source, data), moves)


def replaced_text(data: bytes, moves: list[Move]) -> bytes:
    """A text with each old folder's name replaced, where the folder's name ends there."""
    for move in _longest_first(moves):
        ends = re.compile(rb"%b(?![\w.-])" % re.escape(os.fsencode(move.old)))
        data = ends.sub(os.fsencode(move.new).replace(b"\\", rb"\\"), data)
    return data


def replaced_strings(data: bytes, moves: list[Move]) -> bytes:
    """A binary in which each C string with an old folder's name has the new one, and no string is at another place.

    The new string ends earlier. The last component of the old one stays where it was, behind zeros: a linker lets a
    string that is the end of another share its bytes, as a Python's version does in ``/home/me/versions/3.11.7``.
    """
    for move in _longest_first(moves):
        old, new = os.fsencode(move.old), os.fsencode(move.new)
        if len(new) > len(old) or old not in data:
            continue

        def shorter(match: re.Match[bytes], old: bytes = old, new: bytes = new) -> bytes:
            found = match[0]
            written = found.replace(old, new)
            kept = min(len(found) - found.rfind(b"/") - 1, len(found) - len(written) - 1)
            if kept <= 0:
                return written.ljust(len(found), b"\0")
            return written.ljust(len(found) - kept, b"\0") + found[-kept:]

        data = re.sub(rb"%b(?=[/:\0])[^\0]*(?=\0)" % re.escape(old), shorter, data)
    return data


def without_sections(source: str, data: bytes) -> bytes:
    """An ELF file cut behind its last segment: symbols and debugging data are not loaded and may be most of it."""
    elf = read(source)
    if elf is None or elf.machine[0] != 64 or not elf.machine[1] or len(data) < 64:
        return data
    table = int.from_bytes(data[32:40], "little")
    size, count = int.from_bytes(data[54:56], "little"), int.from_bytes(data[56:58], "little")
    end = table + size * count
    for number in range(count):
        at = table + size * number
        end = max(
            end, int.from_bytes(data[at + 8 : at + 16], "little") + int.from_bytes(data[at + 32 : at + 40], "little")
        )
    head = bytearray(data[:end])
    head[40:48] = bytes(8)  # e_shoff
    head[60:64] = bytes(4)  # e_shnum, e_shstrndx
    return bytes(head)


def _longest_first(moves: list[Move]) -> list[Move]:
    return sorted(moves, key=lambda move: -len(move.old))


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
