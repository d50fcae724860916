"""What goes into the toolbox: which programs of this host, and in which layer."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import NotFound
from . import interpreter, skeleton
from .dependencies import MissingLibraries, Placer
from .gathering import Gathering, Move, Part
from .interpreter import Interpreter
from .programs import Host

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELLS = ("sh", "bash")
PROGRAMS = """
[ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm cp csplit cut date dd df dir dircolors
dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln logname ls md5sum mkdir mkfifo
mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pinky pr printenv printf ptx pwd readlink realpath rm rmdir runcon seq
sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test timeout
touch tr true truncate tsort tty uname unexpand uniq unlink users vdir wc who whoami yes
find xargs grep egrep fgrep sed awk mawk gawk tar gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat
cmp diff clear less more tput reset which hostname getent getopt locale nologin
ps free kill pgrep pidof pidwait pkill pmap pwdx sysctl top uptime vmstat w watch
ip ss bridge
chrt column dmesg fallocate findmnt flock getconf hexdump ionice ipcs last lscpu lsns mount mountpoint nsenter pivot_root prlimit
renice rev script setarch setpriv setsid taskset umount unshare
""".split()  # a table of words
COMPANIONS = ("/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so")  # what stdbuf has others load


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into the image: the parts become layers; in that of Python (``python_part``) the compiled modules are missing yet.

    ``modules`` are what ``Compilation`` takes. ``seen`` are the host's files and folders that were read: as long as they stay
    the same, so does all of this.
    """

    parts: tuple[Part, ...]
    python: Interpreter
    python_part: Part
    modules: tuple[tuple[str | bytes, str], ...]
    seen: frozenset[str]


def gather(extra: Sequence[str] = (), *, warn: Callable[[str], None] = lambda message: None) -> Contents:
    """Find every file of the image, as rows; nothing is written.

    Args:
        extra: further programs, by name or path; they come with their libraries and interpreters, in a part of their own.
        warn: told of what had to be left out.

    Raises:
        NotFound: an extra program, or a library that it needs, is not on this host; or there is no shell.

    """
    host, gathering, python = Host(), Gathering(), interpreter.running()
    if python.move:
        gathering.moves.append(python.move)
        gathering.hidden = [Move(old=python.given, new=python.move.new)]
    if not gathering.belongs(python.executable):
        gathering.moves.append(Move(old=posixpath.dirname(python.executable), new="/usr/local/bin"))
    home = os.path.expanduser("~")
    if home not in ("/", "/root", "~"):
        gathering.hidden.append(Move(old=home, new="/root"))
    placer = Placer(gathering, host, warn)

    gathering.part("toolbox: base files and shell")
    skeleton.gather(gathering, python.prefix, warn)
    shells = [path for path in map(host.program, SHELLS) if path]
    if not shells:
        raise NotFound("no program 'sh' on this host", hint="the toolbox is made of this host's own programs")
    for path in shells:
        placer.place(path)
    if "bin/sh" not in gathering and "usr/bin/sh" not in gathering:
        gathering.link("bin/sh", gathering.moved(shells[0]))
    placer.late()

    gathering.part("toolbox: core programs")
    for name in PROGRAMS:
        path = host.program(name)
        if path and gathering.belongs(path):
            _place_if_whole(placer, path, warn)
    for path in filter(os.path.isfile, COMPANIONS):
        _place_if_whole(placer, path, warn)

    python_part = gathering.part(f"toolbox: Python {python.version}")
    handed_on = host.handed_on(python.executable)
    modules = interpreter.gather(gathering, host, python, lambda path: placer.place(path, handed_on), warn)
    placer.python = posixpath.join("/usr/bin" if python.prefix == "/usr" else "/usr/local/bin", "python3")

    if extra:
        named = {posixpath.basename(word): host.program(word) for word in sorted(set(extra))}
        for word, path in named.items():
            if not path:
                raise NotFound(f"no program {word!r} on this host", hint="give the path of a file, or install it first")
        gathering.part(f"toolbox: {' '.join(named)}")
        for name, path in named.items():
            _place_extra(placer, host, path, name, warn)
    return Contents(
        parts=tuple(gathering.parts),
        python=python,
        python_part=python_part,
        modules=tuple(modules),
        seen=frozenset(gathering.seen | host.seen),
    )


def _place_if_whole(placer: Placer, path: str, warn: Callable[[str], None]) -> None:
    """Place a program that the image can do without: what cannot be read or lacks a library is left out, and said."""
    try:
        placer.place(path)
    except (MissingLibraries, PermissionError) as error:
        warn(f"{posixpath.basename(path)} is left out: {error}")


def _place_extra(placer: Placer, host: Host, path: str, name: str, warn: Callable[[str], None]) -> None:
    try:
        if host.needs(path).programs:
            warn(f"{name} is a script: its interpreter comes along, not the programs and modules that it uses")
        if path.startswith(tuple(f"{folder}/" for folder in PATH.split(":"))):
            placer.place(path)
        else:
            placer.place_as(path, f"/usr/local/bin/{name}")
    except OSError as error:
        raise NotFound(
            f"the program {name!r} cannot be taken along: {error}", hint="install what it needs, or leave it out"
        ) from error
