"""The running Python as part of an image: its executable, its libraries, its standard library with compiled modules."""

from __future__ import annotations

import os
import posixpath
import re
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .bytecode import Compilation
from .gathering import Gathering, Move, Part, Row
from .programs import Host

PREFIX = "/usr/local"
_AS_THEY_STAND = ("/usr", PREFIX)
# Tests, other people's packages, a static library for embedding, and what needs a screen.
_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "__pycache__",
    "site-packages",
    "dist-packages",
    "idlelib",
    "turtledemo",
    "tkinter",
}
_FILES = re.compile(
    r"(lib-dynload/(_tkinter|_test|_ctypes_test|_xxtest|_xxsub|xxlimited|xxsubtype)[^/]*|turtle\.py|EXTERNALLY-MANAGED|.*\.(pyc|a|exe))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An installed Python: ``executable`` is the real file, ``prefix`` the real folder it was installed to, not a virtual
    environment's; ``given`` is that folder as the Python itself calls it.
    """

    executable: str
    prefix: str
    given: str
    libraries: tuple[str, ...]
    version: str
    short: str

    @property
    def move(self) -> Move | None:
        """Where it goes if it cannot stay: everything that is not in /usr or /usr/local moves to the latter."""
        return None if self.prefix in _AS_THEY_STAND else Move(old=self.prefix, new=PREFIX)


def running() -> Interpreter:
    """The Python that runs this, as it was installed: of a virtual environment the one below it."""
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    base |= {"installed_base": sys.base_prefix, "installed_platbase": sys.base_exec_prefix}
    folders = [os.path.realpath(sysconfig.get_path(name, vars=base)) for name in ("stdlib", "platstdlib")]
    name = posixpath.basename(folders[0])
    if not re.fullmatch(r"python\d+\.\d+t?", name):
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    candidates = [posixpath.join(sys.base_prefix, "bin", name), getattr(sys, "_base_executable", ""), sys.executable]
    executable = next(os.path.realpath(path) for path in candidates if path and os.path.isfile(path))
    return Interpreter(
        executable=executable,
        prefix=os.path.realpath(sys.base_prefix),
        given=sys.base_prefix,
        libraries=tuple(dict.fromkeys(folders)),
        version=".".join(map(str, sys.version_info[:3])),
        short=name,
    )


def gather(
    gathering: Gathering,
    host: Host,
    python: Interpreter,
    require: Callable[[str], object],
    warn: Callable[[str], None],
) -> list[tuple[str | bytes, str]]:
    """Place the interpreter, its names in PATH and its standard library; the modules to compile, for ``Compilation``.

    ``require`` places a file with all its libraries, or raises OSError. An extension module whose libraries are not
    there is left out, and ``warn`` told.
    """
    named = posixpath.join(python.prefix, "bin", python.short)
    name = gathering.moved(named)
    require(python.executable)
    if name not in gathering:
        gathering.copy(python.executable, name, 0o755)
    folder = posixpath.dirname(name)
    for short in ("python3", "python"):
        if f"{folder}/{short}" not in gathering:
            gathering.link(f"{folder}/{short}", python.short)
    handed_on = host.handed_on(python.executable)
    modules: list[tuple[str | bytes, str]] = []
    for source in python.libraries:
        skipped: list[str] = []

        def keep(path: str, source: str = source, skipped: list[str] = skipped) -> bool:
            last = posixpath.basename(path)
            if last in _FOLDERS or last.startswith("config-") or _FILES.fullmatch(path):
                return False
            if last.endswith(".so"):
                missing = host.needs(posixpath.join(source, path), handed_on).missing
                if missing:
                    skipped.append(f"{last.partition('.')[0]} ({', '.join(missing)})")
                    return False
            return True

        for path in gathering.folder(source, gathering.moved(source), keep):
            if path.endswith(".so"):
                require(path)
            elif path.endswith(".py"):
                target = gathering.moved(source) + path[len(source) :]
                row = gathering.get(target)
                if row is not None:
                    modules.append((row.data or path, target))
        if skipped:
            warn(f"Python modules left out, whose libraries are not on this host: {', '.join(skipped)}")
    return modules


def place_bytecode(part: Part, modules: Sequence[tuple[str | bytes, str]], compilation: Compilation) -> bool:
    """Add what was compiled beside the modules; False if nothing was."""
    made = compilation.result()
    for (_, name), data in zip(modules, made or (), strict=False):
        if data is not None:
            folder, _, last = name.strip("/").rpartition("/")
            folder = f"{folder}/__pycache__"
            compiled = f"{folder}/{last[:-3]}.{sys.implementation.cache_tag}.pyc"
            part.rows[folder] = Row(name=folder, kind="directory", mode=0o755)
            part.rows[compiled] = Row(name=compiled, kind="file", mode=0o644, data=data, size=len(data))
    return made is not None
