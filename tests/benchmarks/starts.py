"""How long a container takes from the request to its exit status, how many a second, and what the zygote holds.

The program is ``/bin/true`` on an overlay, in six namespaces, with limits of memory, processor and processes, device rules,
masked paths, Docker's capabilities and its seccomp policy. runc and crun run the config.json that dockerd writes for just
that; their overlay is mounted beforehand, so they do a little less than the others, and bwrap much less. Each start begins when
the one before has been tidied up: dockerd and podman go on for a while after they have answered, and so do our shims. What our
containers leave on the disk is removed when none has been started for a minute.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from nbcontainers.linux import syscalls

from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, at_rest, main
from .image import Base
from .ours import LIMITS, Ours, zygote_memory
from .peers import CGROUP, Bubblewrap, Crun, Podman, Runc

AT_ONCE = 100


def tables(session: Session) -> Iterator[Table]:
    """Starts one after another, starts at once, and the zygote's memory."""
    base = Base.at(session.folder)
    ours = session.stack.enter_context(Ours(session.folder))
    docker, podman, bwrap = session.open(Docker), session.open(Podman), session.open(Bubblewrap)
    runtimes = [runtime for runtime in (session.open(Runc), session.open(Crun)) if runtime]

    def start() -> None:
        code = ours.engine.run(ours.base, "/bin/true", rm=True, **LIMITS).wait()
        assert code == 0, code

    one = [Contender(name=OURS, run=start)]
    many = [Contender(name=OURS, run=lambda: at_once(start, parallel))]
    parallel = 10 if session.quick else AT_ONCE
    if runtimes:
        bundles = Bundles(session.folder / "bundles", base, docker.config() if docker else ours.config())
        for low in runtimes:
            one.append(Contender(name=low.name, run=starting(low, bundles.make(low.name, 1))))
            many.append(Contender(name=low.name, run=starting(low, bundles.make(f"{low.name}-many", parallel))))
    if bwrap:
        one.append(Contender(name=bwrap.name, run=lambda: bwrap.run(bwrap.start(base.root))))
    if podman:
        one.append(Contender(name=podman.name, run=lambda: podman.run(podman.start())))
    if docker:
        one.append(Contender(name=docker.name, run=lambda: docker.run(docker.start())))

    yield Table(
        title="start of /bin/true, from the request to its exit status",
        targets=(
            Target(peer="runc", limit=0.25),
            Target(peer="crun", limit=0.4),
            Target(peer="docker", limit=0.05),
            Target(peer="bwrap", limit=1.5),
        ),
    ).in_turn([replace(contender, before=at_rest) for contender in one], session.rounds(full=40))
    yield Table(
        title=f"{parallel} starts at once",
        unit="a second",
        scale=1,
        targets=(Target(peer="runc", limit=3, at_least=True),),
    ).in_turn(
        [replace(contender, before=at_rest_again) for contender in many],
        session.rounds(),
        convert=lambda seconds: parallel / seconds,
    )
    memory = Table(title="resident memory of the zygote", unit="MB", scale=1e-6, targets=(Target(limit=15),))
    memory.rows[OURS] = [float(zygote_memory(os.getpid()))]
    yield memory


def starting(runtime: Runc, bundles: Sequence[Path]) -> Callable[[], None]:
    """Run all the bundles at once, by a new key each time."""
    keys = count()

    def run() -> None:
        runtime.run(*(runtime.start(bundle, f"{bundle.name}-{next(keys)}") for bundle in bundles))

    return run


def at_rest_again() -> None:
    """After a rush our engine makes for the next one, a quarter of a second later, what nobody else shall pay for."""
    time.sleep(0.5)
    at_rest()


def at_once(work: Callable[[], object], times: int) -> None:
    """Do the work in as many threads as times."""
    with ThreadPoolExecutor(times) as pool:
        for done in [pool.submit(work) for _ in range(times)]:
            done.result()


class Bundles:
    """OCI bundles of one config.json and one overlay, each with a cgroup of its own."""

    def __init__(self, folder: Path, base: Base, config: dict[str, Any]) -> None:
        self.folder = folder
        self._config = copy.deepcopy(config)
        for name in ("upper", "work", "root", "etc"):
            (folder / name).mkdir(parents=True)
        for mount in self._config["mounts"]:
            if mount["destination"].startswith("/etc/"):  # dockerd's files go with the container that it wrote them for
                mount["source"] = str(folder / mount["destination"].lstrip("/"))
                Path(mount["source"]).write_text("127.0.0.1 localhost\n")
        self._config["root"] = {"path": str(folder / "root")}
        places = f"lowerdir={base.root},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        syscalls.mount("overlay", str(folder / "root"), "overlay", 0, places)

    def make(self, name: str, how_many: int) -> list[Path]:
        """So many bundles for one runtime."""
        made = []
        for number in range(how_many):
            bundle = self.folder / f"{name}-{number}"
            bundle.mkdir()
            self._config["linux"]["cgroupsPath"] = f"/{CGROUP}/{bundle.name}"
            (bundle / "config.json").write_text(json.dumps(self._config))
            made.append(bundle)
        return made


if __name__ == "__main__":
    main("starts", tables)
