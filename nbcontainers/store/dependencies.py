"""Programs placed in an image with all that they need, so that the loader finds it there too."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence

from .gathering import Gathering, Move
from .programs import Host, Library, Needs, default_folders

# Opened while a program runs, so that no header names them: name services (part of glibc itself since 2.34), and the
# unwinder that pthread_exit wants.
_OPENED_LATER = ("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libresolv.so.2", "libgcc_s.so.1")


class MissingLibraries(OSError):
    """A program needs libraries that are nowhere on this host; ``names`` are theirs."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        super().__init__(f"{path} needs {', '.join(names)}, which this host does not have")
        self.names = tuple(names)


class Placer:
    """Places files with their loader, libraries and interpreters; what is there already is not placed again."""

    def __init__(self, gathering: Gathering, host: Host, warn: Callable[[str], None]) -> None:
        self._gathering = gathering
        self._host = host
        self._warn = warn
        self._loader = ""
        self._done: set[str] = set()
        self.python = ""  # the name in the image that stands in for every other Python that a script asks for

    def place(self, path: str, parents: Sequence[tuple[str, str]] = ()) -> str:
        """Place a program or library under its own name (see ``Gathering``), with all that it needs; its final name.

        Raises:
            MissingLibraries: a library is not there; nothing was placed.
            OSError: a file is not there or cannot be read.

        """
        needs = self._host.needs(path, parents)
        if needs.missing:
            raise MissingLibraries(path, needs.missing)
        final = self._gathering.host(path)
        if path not in self._done:
            self._done.add(path)
            self._needs(needs)
        return final

    def place_as(self, path: str, name: str) -> None:
        """Place a program from outside the system under a name in PATH, its folder moved to /opt so that it stays whole."""
        real = os.path.realpath(path)
        if not self._gathering.belongs(real):
            folder = posixpath.dirname(real)
            old = posixpath.dirname(folder) if posixpath.basename(folder) in ("bin", "sbin", "libexec") else folder
            new = f"/opt/{posixpath.basename(name)}"
            if old == "/":
                old, new = real, f"{new}/{posixpath.basename(name)}"
            self._gathering.moves.append(Move(old=old, new=new))
        final = self.place(real)
        if final != name and name not in self._gathering:
            self._gathering.link(name, final)

    def late(self) -> None:
        """Place what glibc opens while a program runs; to be called when the first program is there."""
        folder = self._folder()
        for name in _OPENED_LATER if "musl" not in self._loader else ():
            path = f"{folder}/{name}"
            if folder and os.path.isfile(path):
                self.place(path)

    def _needs(self, needs: Needs) -> None:
        if needs.loader:
            self._loader = self._loader or needs.loader
            self._gathering.host(needs.loader)
        for program in needs.programs:
            self._interpreter(program)
        for library in needs.libraries:
            self._library(library)

    def _interpreter(self, program: str) -> None:
        name = posixpath.basename(program)
        if self.python and name.startswith("python") and not name.endswith("-config"):
            if self._gathering.belongs(program):
                self._gathering.link(self._gathering.moved(program), self.python)
                return
        elif self._gathering.belongs(os.path.realpath(program)):
            self.place(program)
            return
        self._warn(f"the interpreter {program} is not part of the system: it is left out")

    def _library(self, library: Library) -> None:
        beside = posixpath.join(self._folder(), library.name)
        try:
            name = self._gathering.host(library.path)
        except PermissionError:
            raise
        except OSError:  # in a folder that has no name in the image: it goes where every program finds it
            real = os.path.realpath(library.path)
            placed = self._gathering.get(beside)
            if placed is None:
                self._gathering.copy(real, beside)
            elif placed.source != real:
                self._warn(f"{library.path} is left out: the toolbox has another {library.name}")
            return
        if not self._is_found(library, posixpath.dirname(name)) and beside not in self._gathering:
            self._gathering.link(beside, name)

    def _folder(self) -> str:
        """The folder where the loader always looks, by its real name (absolute)."""
        loader = self._loader or self._host.needs(self._host.program("sh")).loader
        return posixpath.dirname(os.path.realpath(loader)) if loader else "/usr/lib"

    def _is_found(self, library: Library, folder: str) -> bool:
        """Whether the loader in the image finds a library in this folder, as it did on the host."""
        if not library.folder:
            return folder in {os.path.realpath(known) for known in default_folders(self._loader)}
        if "ORIGIN" in library.folder:
            here = self._gathering.move_of(os.path.realpath(library.asked_by))
            return here == self._gathering.move_of(library.path)
        move = self._gathering.move_of(library.folder)
        return move is None or len(move.new) <= len(move.old)
