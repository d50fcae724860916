"""What ``top`` lists, beside what this host's ps says of the same processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

import pytest

from nbcontainers.engine import ps
from nbcontainers.errors import NBContainersError

_THREADS = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print(); time.sleep(600)"
_PASSING = ("C", "%CPU", "START", "STIME")


@pytest.fixture(scope="module")
def processes() -> Iterator[list[int]]:
    """A plain one, one that leads a session and is nice, and one with two threads."""
    if shutil.which("ps") is None:
        pytest.skip("needs ps")
    started = [
        subprocess.Popen(["sleep", "600"]),
        subprocess.Popen(["nice", "-n", "5", "sleep", "600"], start_new_session=True),
        subprocess.Popen([sys.executable, "-c", _THREADS], stdout=subprocess.PIPE),
    ]
    assert started[-1].stdout is not None
    started[-1].stdout.readline()  # it has both now
    try:
        yield sorted(one.pid for one in started)
    finally:
        for one in started:
            one.kill()
            one.wait()
        started[-1].stdout.close()


def steady(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    """The values of each line by their titles, but for those that may be others a moment later."""
    return [{title: "" if title in _PASSING else word for title, word in zip(titles, row, strict=True)} for row in rows]


def said(pids: list[int], *options: str) -> list[dict[str, str]]:
    """What ps says of them, in words; the last column is the rest of a line."""
    done = subprocess.run(
        ["ps", *options], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "1000"}
    )
    titles, *lines = (line.split() for line in done.stdout.splitlines())
    rows = [[*line[: len(titles) - 1], " ".join(line[len(titles) - 1 :])] for line in lines]
    return [row for row in steady(titles, rows) if int(row["PID"]) in pids]


@pytest.mark.parametrize(
    "words",
    [
        "-f",
        "-e",
        "x",
        "u",
        "o pid,comm",
        "-o pid,ni,nlwp,vsz,tt -o tname,cmd",
        "-o stat,s,state,time,bsdtime,pid,ppid,pgid,sid,user",
    ],
)
def test_it_lists_what_ps_does(processes: list[int], words: str) -> None:
    """Titles and values, in the style of BSD and in that of Unix: states with all their letters, and each style's own times."""
    options = words.split()
    found = ps.table(processes, options)
    assert steady(found.titles, found.rows) == said(processes, "-e" if options[0] != "x" else "ax", *options)


def test_what_it_does_not_know_is_refused() -> None:
    """An option, a column, or a list of columns that is not there; Docker's ``-o pid,comm`` and ``axo`` are known."""
    assert ps.columns(["axo", "pid,comm"]) == ps.columns(["-o", "pid", "-o", "comm"]) == ps.columns(["-eopid,comm"])
    assert ps.columns([]) == ps.columns(["-ef"]) == ps.columns(["-f", "-A"])
    for words in ("l", "-p 1", "-o nope", "-o", "--sort pid", "-", "aux --forest", "-o pid, -l"):
        with pytest.raises(NBContainersError, match="not an option of ps"):
            ps.columns(words.split())
