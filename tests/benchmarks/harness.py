"""Samples taken in turn, and the tables made of them."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import nbcontainers
from nbcontainers.linux import syscalls

from .peers import Peer
from .spawn import Unavailable

RESULTS = Path(__file__).parent / "results"
OURS = "nbcontainers"
_REST_S = 0.02
_MOST_REST_S = 1.0
_IDLE, _WAITS = 3, 4  # columns of /proc/stat
P = TypeVar("P", bound=Peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the work: ``run`` is timed, ``before`` and ``after`` are not. What ``run`` returns is thrown away."""

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None

    def sample(self) -> float:
        """Do the work once and return its seconds."""
        self.before()
        start = time.perf_counter()
        self.run()
        seconds = time.perf_counter() - start
        self.after()
        return seconds


def at_rest() -> None:
    """Wait until what came before has ended: whoever comes next must not pay for what a peer does after it has answered.

    The processors have nothing to do then for 20 ms; where others keep them busy for a second, that is how the machine is.
    """
    deadline = time.monotonic() + _MOST_REST_S
    busy, last = True, _used()
    while busy and time.monotonic() < deadline:
        time.sleep(_REST_S)
        busy, last = _used() - last > 0, _used()


def _used() -> int:
    """What all processors have done so far: clock ticks, not counting those in which they had nothing to do."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks) - ticks[_IDLE] - ticks[_WAITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What our median should be, in the table's unit or, with a ``peer``, as a multiple of that peer's median."""

    limit: float
    peer: str = ""
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Whether a measured value or ratio meets the target."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(slots=True, kw_only=True)
class Table:
    """Rows of samples by contender; ``scale`` turns a sample into the unit that is shown."""

    title: str
    unit: str = "ms"
    scale: float = 1e3
    targets: Sequence[Target] = ()
    rows: dict[str, list[float]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def in_turn(
        self,
        contenders: Sequence[Contender],
        rounds: int,
        *,
        warm: bool = True,
        convert: Callable[[float], float] = float,
    ) -> Table:
        """Sample every contender ``rounds`` times, A B A B …, after one sample each that is thrown away if ``warm``.

        A peer that fails leaves the table with its words; our own failure is an error. ``convert`` makes of seconds what the
        table holds.
        """
        running = list(contenders)
        for number in range(0 if warm else 1, rounds + 1):
            for contender in tuple(running):
                try:
                    seconds = contender.sample()
                except Unavailable as error:
                    running.remove(contender)
                    self.rows.pop(contender.name, None)
                    self.not_measured[contender.name] = str(error)
                    continue
                if number:
                    self.rows.setdefault(contender.name, []).append(convert(seconds))
        return self

    def median(self, name: str) -> float | None:
        """The median in the table's unit, None where nothing was measured."""
        samples = self.rows.get(name)
        return statistics.median(samples) * self.scale if samples else None

    def judged(self) -> Iterator[tuple[Target, float | None, str]]:
        """Each target with what was measured for it, and the verdict in words."""
        ours = self.median(OURS)
        for target in self.targets:
            other = self.median(target.peer) if target.peer else 1.0
            if ours is None or not other:
                yield target, None, "not measured"
            else:
                value = ours / other
                yield target, value, "met" if target.holds(value) else "not met"

    def __str__(self) -> str:
        ours = self.median(OURS)
        width = max(len(name) for name in (*self.rows, *self.not_measured, OURS)) + 2
        head = f"{'':{width}}{'samples':>8}{'min':>11}{'median':>11} {self.unit:<9}{'ours / it':>9}"
        lines = [self.title, head]
        for name, samples in sorted(self.rows.items(), key=lambda row: (row[0] != OURS, statistics.median(row[1]))):
            middle = statistics.median(samples) * self.scale
            ratio = f"{ours / middle:9.3f}" if ours and middle and name != OURS else ""
            least = min(samples) * self.scale
            lines.append(f"{name:{width}}{len(samples):8}{least:11.2f}{middle:11.2f} {self.unit:<9}{ratio:>9}")
        lines += [f"{name:{width}}not measured: {why}" for name, why in self.not_measured.items()]
        for target, value, verdict in self.judged():
            sign = "≥" if target.at_least else "≤"
            what = f"{sign} {target.limit:g} × {target.peer}" if target.peer else f"{sign} {target.limit:g} {self.unit}"
            got = "" if value is None else f" ({value:.3g})"
            lines.append(f"  target {what}: {verdict}{got}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Every sample in the table's unit, and what became of the targets."""
        return {
            "title": self.title,
            "unit": self.unit,
            "rows": [
                {
                    "name": name,
                    "min": min(samples) * self.scale,
                    "median": statistics.median(samples) * self.scale,
                    "samples": [sample * self.scale for sample in samples],
                }
                for name, samples in self.rows.items()
            ],
            "targets": [
                {
                    "limit": target.limit,
                    "peer": target.peer,
                    "at_least": target.at_least,
                    "measured": value,
                    "verdict": verdict,
                }
                for target, value, verdict in self.judged()
            ],
            "not_measured": self.not_measured,
            "notes": self.notes,
        }


@dataclass(slots=True)
class Session:
    """One run of a benchmark: its scratch folder, how thorough it is, and the peers that it opened."""

    folder: Path
    quick: bool
    only: frozenset[str]
    stack: ExitStack
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def rounds(self, full: int = 20, quick: int = 1) -> int:
        """How many samples to take of each contender."""
        return quick if self.quick else full

    def open(self, kind: type[P]) -> P | None:
        """A peer, ready to work until the session ends, or None: ``absent`` then says why."""
        if self.only and kind.name not in self.only:
            return None
        folder = self.folder / kind.name
        folder.mkdir()
        peer = kind(folder)
        try:
            self.stack.enter_context(peer)
            self.versions[kind.name] = peer.version()
        except Unavailable as error:
            self.absent[kind.name] = str(error)
            return None
        return peer


def main(name: str, tables: Callable[[Session], Iterator[Table]]) -> None:
    """Run a module's tables: print them and write them to ``results/NAME.json``."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=tables.__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds and small trees: does everything work?")
    parser.add_argument("--only", default="", metavar="PEER,…", help="measure against these peers only")
    words = parser.parse_args()
    quick = words.quick or os.environ.get("NBCONTAINERS_BENCHMARKS", "full") == "quick"
    if os.geteuid() == 0:  # whatever a peer mounts goes away with this process
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    # As pip does where it installs: what a process compiles itself lies scattered in its memory, of which each fork copies more then.
    compileall.compile_dir(Path(nbcontainers.__file__).parent, quiet=2)
    folder = Path(tempfile.mkdtemp(prefix="nbc-bench-"))
    done: list[Table] = []
    try:
        with ExitStack() as stack:
            session = Session(folder, quick, frozenset(filter(None, words.only.split(","))), stack)
            for table in tables(session):
                wanted = {target.peer for target in table.targets}
                for peer, why in session.absent.items():
                    if not done or peer in wanted:
                        table.not_measured.setdefault(peer, why)
                print(table, end="\n\n", flush=True)
                done.append(table)
    except Unavailable as error:
        print(f"not measured: {error}")
        return
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "host": host(),
        "peers": session.versions,
        "tables": [table.to_json() for table in done],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def unmount_below(folder: Path) -> None:
    """Take away what peers mounted below a folder and left there."""
    below = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed([place for place in below if place.startswith(f"{folder}/")]):
        syscalls.umount(place, syscalls.MNT_DETACH)


def host() -> dict[str, object]:
    """What a reader needs to know of the machine to compare two results."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    tree = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=RESULTS.parent, capture_output=True, text=True, check=False
    )
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "model": model,
        "python": sys.version.split()[0],
        "uid": os.geteuid(),
        "load": os.getloadavg()[0],
        "revision": tree.stdout.strip(),
    }
