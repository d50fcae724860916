"""The processes of a container as ``docker top`` lists them, read from this host's /proc.

Source: ps(1), proc_pid_stat(5), proc_pid_status(5).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import NBContainersError
from ..results import ProcessList
from ..runtime.identity import credentials

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PAGES = os.sysconf("SC_PHYS_PAGES")
DEFAULT = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_TTY_MAJORS = {4: "tty", 5: "tty", 136: "pts/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    pid: int
    uid: int
    gid: int
    fields: list[str]  # of /proc/PID/stat, from the state on
    name: str
    command: str
    up: float  # this host's, in seconds

    def number(self, index: int) -> int:
        return int(self.fields[index])

    @property
    def cpu_seconds(self) -> float:
        return (self.number(11) + self.number(12)) / _TICKS

    @property
    def age(self) -> float:
        return max(0.0, self.up - self.number(19) / _TICKS)


def _user(process: _Process) -> str:
    try:
        return pwd.getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _elapsed(process: _Process) -> str:
    days, rest = divmod(int(process.age), 86400)
    text = _clock(rest)
    return f"{days}-{text}" if days else text.removeprefix("00:")


def _begun(process: _Process) -> str:
    at = time.localtime(time.time() - process.age)
    return time.strftime("%H:%M" if process.age < 86400 else "%b%d", at)


def _terminal(process: _Process) -> str:
    number = process.number(4)
    major, minor = os.major(number), os.minor(number)
    return f"{_TTY_MAJORS[major]}{minor}" if number and major in _TTY_MAJORS else "?"


def _share(process: _Process) -> float:
    return 100 * process.cpu_seconds / process.age if process.age else 0.0


# ps's names of columns, each with its heading and what stands in it.
_COLUMNS: Mapping[str, tuple[str, Callable[[_Process], object]]] = {
    "uid": ("UID", lambda one: one.uid),
    "user": ("USER", _user),
    "gid": ("GID", lambda one: one.gid),
    "pid": ("PID", lambda one: one.pid),
    "ppid": ("PPID", lambda one: one.number(1)),
    "pgid": ("PGID", lambda one: one.number(2)),
    "sid": ("SID", lambda one: one.number(3)),
    "pmem": ("%MEM", lambda one: f"{100 * one.number(21) / _PAGES:.1f}"),
    "c": ("C", lambda one: int(_share(one))),
    "pcpu": ("%CPU", lambda one: f"{_share(one):.1f}"),
    "stime": ("STIME", _begun),
    "start": ("START", _begun),
    "tty": ("TTY", _terminal),
    "time": ("TIME", lambda one: _clock(one.cpu_seconds)),
    "etime": ("ELAPSED", _elapsed),
    "stat": ("STAT", lambda one: one.fields[0]),
    "ni": ("NI", lambda one: one.number(16)),
    "nlwp": ("NLWP", lambda one: one.number(17)),
    "rss": ("RSS", lambda one: one.number(21) * _PAGE // 1024),
    "vsz": ("VSZ", lambda one: one.number(20) // 1024),
    "comm": ("COMMAND", lambda one: one.name),
    "args": ("COMMAND", lambda one: one.command),
    "cmd": ("CMD", lambda one: one.command),
}
_ALL = {**_COLUMNS, "owner": ("UID", _user)}  # -f calls so what -o calls user
_SAME = {
    "%cpu": "pcpu",
    "%mem": "pmem",
    "command": "args",
    "tt": "tty",
    "tname": "tty",
    "s": "stat",
    "state": "stat",
    "euser": "user",
}
_OF_USERS = ("user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "start", "time", "args")
_FULL = ("owner", "pid", "ppid", "c", "stime", "tty", "time", "cmd")


def columns(options: Sequence[str]) -> tuple[str, ...]:
    """The columns that ps's options ask for: none, ``-ef``, ``aux``, or ``-o`` with names; the others are refused."""
    rest = [word for word in options if word not in ("-e", "-f", "-ef", "-A", "ax", "-ax")]
    if not rest:
        return _FULL
    if len(rest) == 1 and {*rest[0].removeprefix("-")} in ({*"aux"}, {*"ux"}, {*"au"}, {*"u"}):
        return _OF_USERS
    asked = ",".join(rest)
    for prefix in ("-o,", "-eo,", "-o", "-eo"):
        if asked.startswith(prefix):
            names = [_SAME.get(name, name) for name in asked.removeprefix(prefix).split(",") if name]
            unknown = [name for name in names if name not in _COLUMNS]
            if names and not unknown:
                return tuple(names)
    raise NBContainersError(
        f"not an option of ps that is known here: {' '.join(rest)!r}",
        hint=f"write -ef, aux, or -o and names of columns: {', '.join(_COLUMNS)}",
    )


def table(pids: Sequence[int], options: Sequence[str] = (), *, folder: str = "") -> ProcessList:
    """What the processes are and use now; those that have ended meanwhile are left out. Their numbers are this host's.

    Where the container (of this ``folder``) has one id, and others are answered for, they belong to those that it sees itself.
    """
    chosen = columns(options)
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    people = credentials.effective(folder)
    found = [process for pid in sorted(pids) if (process := _read(pid, up, people)) is not None]
    return ProcessList(
        titles=tuple(_ALL[name][0] for name in chosen),
        rows=tuple(tuple(str(_ALL[name][1](process)) for name in chosen) for process in found),
    )


def _owner(pid: int, people: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    if people:
        number = credentials.number_in(b"/proc/%d" % pid)
        if number in people:
            return people[number]
    found = os.stat(f"/proc/{pid}")
    return found.st_uid, found.st_gid


def _read(pid: int, up: float, people: Mapping[int, tuple[int, int]]) -> _Process | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
        uid, gid = _owner(pid, people)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        name = text[text.index("(") + 1 : text.rindex(")")]
        command = b" ".join(words).decode(errors="replace") or f"[{name}]"
        return _Process(
            pid=pid,
            uid=uid,
            gid=gid,
            fields=text[text.rindex(")") + 2 :].split(),
            name=name,
            command=command,
            up=up,
        )
    return None
