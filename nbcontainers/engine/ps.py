"""The processes of a container as ``docker top`` lists them, read from this host's /proc.

Source: ps(1), proc_pid_stat(5), proc_pid_status(5).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import NBContainersError
from ..results import ProcessList
from ..runtime.identity import credentials

_DAY = 86400  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
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
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{rest:02}"


def _elapsed(process: _Process) -> str:
    return _clock(process.age).removeprefix("00:")


def _begun(process: _Process, today: str = "%H:%M", before: str = "%b%d") -> str:
    return time.strftime(today if process.age < _DAY else before, _beginning(process))


def _begun_by_calendar(process: _Process) -> str:
    at, now = _beginning(process), time.localtime()
    is_of_today = (at.tm_year, at.tm_yday) == (now.tm_year, now.tm_yday)
    return time.strftime("%H:%M" if is_of_today else "%b%d" if at.tm_year == now.tm_year else "%Y", at)


def _beginning(process: _Process) -> time.struct_time:
    return time.localtime(time.time() - process.age)


def _minutes(process: _Process) -> str:
    minutes, seconds = divmod(int(process.cpu_seconds), 60)
    return f"{minutes}:{seconds:02}"


def _states(process: _Process) -> str:
    """The state, and what else ps says of a process in one letter each. Source: ps(1), "PROCESS STATE CODES"."""
    nice = process.number(16)
    said = {
        "<": nice < 0,
        "N": nice > 0,
        "L": _kilobytes(process, "VmLck") > 0,  # memory that is not swapped out
        "s": process.number(3) == process.pid,
        "l": process.number(17) > 1,
        "+": process.number(2) == process.number(5),
    }
    return process.fields[0] + "".join(letter for letter, holds in said.items() if holds)


def _kilobytes(process: _Process, name: str) -> int:
    """A figure of /proc/PID/status; 0 where there is none. Those of /proc/PID/stat are not exact."""
    with contextlib.suppress(OSError), open(f"/proc/{process.pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


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
    "pmem": ("%MEM", lambda one: f"{100 * 1024 * _kilobytes(one, 'VmRSS') / _MEMORY:.1f}"),
    "c": ("C", lambda one: int(_share(one))),
    "pcpu": ("%CPU", lambda one: f"{_share(one):.1f}"),
    "stime": ("STIME", _begun_by_calendar),
    "start": ("STARTED", lambda one: _begun(one, "%H:%M:%S", "%b %d")),
    "bsdstart": ("START", _begun),
    "tty": ("TT", _terminal),
    "tname": ("TTY", _terminal),
    "time": ("TIME", lambda one: _clock(one.cpu_seconds)),
    "bsdtime": ("TIME", _minutes),
    "etime": ("ELAPSED", _elapsed),
    "etimes": ("ELAPSED", lambda one: int(one.age)),
    "stat": ("STAT", _states),
    "s": ("S", lambda one: one.fields[0]),
    "ni": ("NI", lambda one: one.number(16)),
    "nlwp": ("NLWP", lambda one: one.number(17)),
    "rss": ("RSS", lambda one: _kilobytes(one, "VmRSS")),
    "vsz": ("VSZ", lambda one: one.number(20) // 1024),
    "comm": ("COMMAND", lambda one: one.name),
    "args": ("COMMAND", lambda one: one.command),
    "cmd": ("CMD", lambda one: one.command),
    "ucmd": ("CMD", lambda one: one.name),
}
_ALL = {**_COLUMNS, "owner": ("UID", _user)}  # -f calls so what -o calls user
_SAME = {
    "%cpu": "pcpu",
    "%mem": "pmem",
    "command": "args",
    "tt": "tty",
    "state": "s",
    "cputime": "time",
    "nice": "ni",
}
_OF_USERS = ("user", "pid", "pcpu", "pmem", "vsz", "rss", "tname", "stat", "bsdstart", "bsdtime", "args")
_OF_BSD = ("pid", "tname", "stat", "bsdtime", "args")
_FULL = ("owner", "pid", "ppid", "c", "stime", "tname", "time", "cmd")
_SHORT = ("pid", "tname", "time", "ucmd")
_BSD = re.compile(r"[aux]+|-a?[ux]+a?")  # ps takes what is no option with a dash, such as -aux, as without it
_UNIX = re.compile(r"-[Aaef]*")
_LIST = re.compile(r"(-?[Aaefx]*)o(.*)", re.DOTALL)


def columns(options: Sequence[str]) -> tuple[str, ...]:
    """The columns that ps's options ask for: ``-e``, ``-f``, ``aux`` or ``ax``, or ``-o`` or ``o`` with names; the others are refused.

    Which processes they choose means nothing: all of the container's are shown, as Docker shows of ps's what are the container's.
    """
    names: list[str] = []
    styles: set[tuple[str, ...]] = set()
    rest = iter(options)
    for word in rest:
        if match := _LIST.fullmatch(word):
            names += [_SAME.get(name, name) for name in re.split(r"[\s,]+", match[2] or next(rest, ""))]
        elif _BSD.fullmatch(word):
            styles.add(_OF_USERS if "u" in word else _OF_BSD)
        elif _UNIX.fullmatch(word) and word != "-":
            styles.add(_FULL if "f" in word else _SHORT)
        else:
            break
    else:
        if names and all(name in _COLUMNS for name in names):
            return tuple(names)
        if not names:
            return next(
                (style for style in (_OF_USERS, _FULL, _OF_BSD) if style in styles), _SHORT if styles else _FULL
            )
    raise NBContainersError(
        f"not an option of ps that is known here: {' '.join(options)!r}",
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
