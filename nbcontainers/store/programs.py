"""What a program of this host needs to run elsewhere: its loader, its shared libraries, the interpreter of a script.

Nothing is executed: ``ldd`` runs the program that it looks at. Source: ld.so(8), elf(5), execve(2).
"""

from __future__ import annotations

import errno
import os
import shlex
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.construct.core import ConstructError
from elftools.elf.structs import ELFStructs

SEARCH = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin", "/run/current-system/sw/bin")
_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_DEFAULT_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_LOADERS = ("ld-linux", "ld64.", "ld-musl")
_MUSL_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib")
_TAGS = {"DT_NEEDED": "needed", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath", "DT_SONAME": "soname"}

Machine = tuple[int, bool, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What the dynamic loader reads of a file: ``interpreter`` is empty in a library and in a static program.

    ``rpath`` and ``runpath`` are as they stand in the file, with ``$ORIGIN`` in them; ``machine`` is equal in files that fit.
    """

    machine: Machine
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library by the name that was asked for, where it was found, and why there.

    ``folder`` is the entry of the search path as it stands in the file ``asked_by``; empty for the loader's own folders.
    """

    name: str
    path: str
    folder: str
    asked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All that a file needs: ``loader`` (a path, or empty), ``libraries``, and the names of those that are ``missing``.

    A script has its interpreters in ``programs``: of ``#!/usr/bin/env python3`` both.
    """

    loader: str = ""
    libraries: tuple[Library, ...] = ()
    missing: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


_structs: dict[tuple[int, bool], ELFStructs] = {}


def read(path: str) -> Elf | None:
    """What the loader reads of a file, None where it is no ELF file. OSError if it cannot be read."""
    with open(path, "rb") as stream:
        try:
            return parse(stream)
        except (ELFError, ConstructError, struct.error, ValueError, OverflowError, StopIteration):
            return None  # begins like one, and is not whole
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None  # it says that a part of it is where no file has bytes


def parse(stream: BinaryIO) -> Elf | None:
    """The same of an open file. Only program headers count, as for the kernel: a stripped file may have no sections."""
    head = stream.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    structs = _structs_of(32 * head[4], head[5] == 1)
    header = struct_parse(structs.Elf_Ehdr, stream, stream_pos=0)
    machine: Machine = (structs.elfclass, structs.little_endian, header["e_machine"])
    interpreter, loads, dynamic = "", [], None
    for number in range(header["e_phnum"]):
        segment = struct_parse(structs.Elf_Phdr, stream, header["e_phoff"] + number * header["e_phentsize"])
        if segment["p_type"] == "PT_INTERP":
            stream.seek(segment["p_offset"])
            interpreter = os.fsdecode(stream.read(min(segment["p_filesz"], 4096)).split(b"\0")[0])
        elif segment["p_type"] == "PT_LOAD":
            loads.append(segment)
        elif segment["p_type"] == "PT_DYNAMIC":
            dynamic = segment
    found: dict[str, list[int]] = {name: [] for name in _TAGS.values()}
    strings = 0
    size = structs.Elf_Dyn.sizeof()
    for number in range(dynamic["p_filesz"] // size if dynamic else 0):
        assert dynamic
        entry = struct_parse(structs.Elf_Dyn, stream, dynamic["p_offset"] + number * size)
        if entry["d_tag"] == "DT_NULL":
            break
        if entry["d_tag"] == "DT_STRTAB":
            strings = entry["d_val"]
        elif entry["d_tag"] in _TAGS:
            found[_TAGS[entry["d_tag"]]].append(entry["d_val"])

    def text(offset: int) -> str:
        base = next(s for s in loads if s["p_vaddr"] <= strings < s["p_vaddr"] + s["p_filesz"])
        stream.seek(strings - base["p_vaddr"] + base["p_offset"] + offset)
        return os.fsdecode(stream.read(8192).split(b"\0")[0])

    return Elf(
        machine=machine,
        interpreter=interpreter,
        soname="".join(map(text, found["soname"][:1])),
        needed=tuple(map(text, found["needed"])),
        rpath=tuple(folder for offset in found["rpath"] for folder in text(offset).split(":") if folder),
        runpath=tuple(folder for offset in found["runpath"] for folder in text(offset).split(":") if folder),
    )


def _structs_of(bits: int, little: bool) -> ELFStructs:
    """One table of structures per class and byte order: making it costs more than reading a file with it."""
    if (bits, little) not in _structs:
        structs = ELFStructs(little_endian=little, elfclass=bits)
        structs.create_basic_structs()
        structs.create_advanced_structs()
        _structs[bits, little] = structs
    return _structs[bits, little]


class Host:
    """The programs and libraries of this host, each file read once.

    ``seen`` collects every file that was looked into and every folder that was searched: as long as none of them
    changes, the answers do not.
    """

    def __init__(self, search: Sequence[str] = SEARCH, cache: str = _CACHE) -> None:
        self.search = tuple(search)
        self.seen: set[str] = {cache}
        self._files: dict[str, Elf | None] = {}
        self._found: dict[tuple[str, Machine, tuple[tuple[str, str], ...]], tuple[str, str] | None] = {}
        self._cache_file = cache
        self._cache: dict[str, list[str]] | None = None

    def program(self, name: str) -> str:
        """The path of a program, looked up in the system's folders and then in PATH; empty where there is none."""
        if "/" in name:
            return os.path.abspath(name) if os.path.isfile(name) else ""
        self.seen.update(filter(os.path.isdir, self.search))
        for folder in (*self.search, *os.environ.get("PATH", "").split(":")):
            path = os.path.join(folder or ".", name)
            if os.path.isfile(path) and os.stat(path).st_mode & 0o111:
                return os.path.abspath(path)
        return ""

    def needs(self, path: str, parents: Sequence[tuple[str, str]] = ()) -> Needs:
        """Everything that a program or library needs; ``parents`` is the DT_RPATH (see ``handed_on``) of what loads it."""
        elf = self._elf(path)
        if elf is None:
            return Needs(programs=tuple(self._interpreters(path)))
        libraries: dict[str, Library] = {}
        missing: dict[str, None] = {}
        waiting = deque([(os.path.realpath(path), elf, tuple(parents))])
        while waiting:  # breadth first, as the loader: the first library of a name serves all who ask for it later
            asking, file, inherited = waiting.popleft()
            # DT_RPATH serves what is loaded below as well; where there is a DT_RUNPATH, that alone, and this file alone.
            own = tuple((folder, asking) for folder in file.rpath)
            rpath = () if file.runpath else (*own, *inherited)
            runpath = tuple((folder, asking) for folder in file.runpath)
            for name in file.needed:
                if name in libraries or name in missing or name.startswith(_LOADERS):
                    continue
                found = self._library(name, file.machine, rpath or runpath, elf.interpreter)
                if found is None:
                    missing[name] = None
                    continue
                libraries[name] = Library(name, found[0], found[1], asking)
                library = self._elf(found[0])
                if library:
                    waiting.append((os.path.realpath(found[0]), library, rpath or inherited))
        return Needs(loader=elf.interpreter, libraries=tuple(libraries.values()), missing=tuple(missing))

    def handed_on(self, path: str) -> tuple[tuple[str, str], ...]:
        """The search path that a program hands on to what it loads later, as (folder, file that it stands in)."""
        elf = self._elf(path)
        return () if elf is None or elf.runpath else tuple((folder, os.path.realpath(path)) for folder in elf.rpath)

    def _elf(self, path: str) -> Elf | None:
        if path not in self._files:
            self.seen.add(path)
            self._files[path] = read(path)
        return self._files[path]

    def _interpreters(self, path: str) -> Iterable[str]:
        with open(path, "rb") as stream:
            first = stream.read(256).split(b"\n")[0]
        if not first.startswith(b"#!"):
            return
        words = os.fsdecode(first[2:]).split(None, 1)
        if not words:
            return
        yield words[0]
        if os.path.basename(words[0]) == "env" and len(words) == 2:
            arguments = [word for word in shlex.split(words[1]) if not word.startswith("-") and "=" not in word]
            found = self.program(arguments[0]) if arguments else ""
            if found:
                yield found

    def _library(
        self, name: str, machine: Machine, folders: tuple[tuple[str, str], ...], interpreter: str
    ) -> tuple[str, str] | None:
        if "/" in name:
            return (name, "") if os.path.isfile(name) else None
        key = (name, machine, folders)
        if key not in self._found:
            self._found[key] = self._search(name, machine, folders, interpreter)
        return self._found[key]

    def _search(
        self, name: str, machine: Machine, folders: tuple[tuple[str, str], ...], interpreter: str
    ) -> tuple[str, str] | None:
        for written, asking in folders:
            for folder in _expand(written, os.path.dirname(asking)):
                if self._fits(f"{folder}/{name}", machine):
                    return os.path.normpath(f"{folder}/{name}"), written
        environment = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
        defaults = default_folders(interpreter)
        for candidate in (
            *self._known().get(name, ()),
            *(f"{folder}/{name}" for folder in defaults),
            *(
                f"{folder}/{name}" for folder in environment
            ),  # last: an environment shall not change the system's programs
        ):
            if self._fits(candidate, machine):
                return candidate, ""
        return None

    def _fits(self, candidate: str, machine: Machine) -> bool:
        try:
            elf = self._elf(candidate) if os.path.isfile(candidate) else None
        except OSError:
            return False
        return elf is not None and elf.machine == machine

    def _known(self) -> dict[str, list[str]]:
        if self._cache is None:
            try:
                with open(self._cache_file, "rb") as stream:
                    self._cache = read_cache(stream.read())
            except OSError:
                self._cache = {}
        return self._cache


def default_folders(interpreter: str) -> tuple[str, ...]:
    """Where the loader looks without being told; always its own folder (Debian's multiarch one, lib64, a Nix store's)."""
    if "ld-musl" in interpreter:
        try:
            with open(f"/etc/{os.path.basename(interpreter).split('.')[0]}.path") as stream:
                return tuple(stream.read().replace(":", "\n").split())
        except OSError:
            return _MUSL_FOLDERS
    own = [os.path.dirname(os.path.realpath(interpreter))] if interpreter else []
    triplets = [f"{folder}/{os.uname().machine}-linux-gnu" for folder in ("/lib", "/usr/lib")]
    return tuple(dict.fromkeys([*own, *triplets, *_DEFAULT_FOLDERS]))


def read_cache(data: bytes) -> dict[str, list[str]]:
    """The libraries that an ld.so.cache lists, by name; those for special processors are left out. Source: glibc's dl-cache.h."""
    start = data.find(_CACHE_MAGIC)
    known: dict[str, list[str]] = {}
    if start < 0 or len(data) < start + 48:
        return known
    count = int.from_bytes(data[start + 20 : start + 24], "little")

    def text(offset: int) -> str:
        return os.fsdecode(data[start + offset : data.index(b"\0", start + offset)])

    try:
        for _, key, value, _, capabilities in struct.iter_unpack("<iIIIQ", data[start + 48 : start + 48 + 24 * count]):
            if not capabilities:
                known.setdefault(text(key), []).append(text(value))
    except (ValueError, struct.error):
        pass  # torn: the default folders are searched as well
    return known


def _expand(folder: str, origin: str) -> tuple[str, ...]:
    """A search path's entry without its variables; ``$LIB`` may be any of three names. Source: ld.so(8), "Dynamic string tokens"."""
    path = folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin).replace("${LIB}", "$LIB")
    if "$LIB" not in path:
        return (path,)
    return tuple(path.replace("$LIB", name) for name in ("lib", "lib64", f"lib/{os.uname().machine}-linux-gnu"))
