"""How long a command takes that is entered into a container which runs, from the request to its exit status seen.

The program is ``/bin/true``, and it gets what the container has: namespaces, limits, capabilities, seccomp policy. The containers
are those of ``starts``, and go on sleeping meanwhile. Ours is asked through the API, as a notebook does; the others are commands.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, at_rest, main
from .image import Base
from .ours import LIMITS, Ours
from .peers import Crun, Podman, Runc
from .spawn import Unavailable
from .starts import Bundles


def tables(session: Session) -> Iterator[Table]:
    """One command after another in one container."""
    base = Base.at(session.folder)
    ours = session.stack.enter_context(Ours(session.folder))
    docker, podman = session.open(Docker), session.open(Podman)
    runtimes = [runtime for runtime in (session.open(Runc), session.open(Crun)) if runtime]
    table = Table(
        title="exec of /bin/true, from the request to its exit status", targets=(Target(peer="runc", limit=0.5),)
    )
    container = ours.engine.run(ours.base, "/bin/sleep", "1000", rm=True, **LIMITS)
    session.stack.callback(container.wait)
    session.stack.callback(container.kill)

    def enter() -> None:
        code = container.exec("/bin/true").wait()
        assert code == 0, code

    contenders = [Contender(name=OURS, run=enter)]
    if runtimes:
        config = copy.deepcopy(docker.config() if docker else ours.config())
        config["process"]["args"] = ["/bin/sleep", "1000"]
        bundles = Bundles(session.folder / "bundles", base, config)
        for low in runtimes:
            (bundle,) = bundles.make(low.name, 1)
            contenders += _entering(table, session.stack, low, partial(low.hold, bundle))
    for high in (podman, docker):
        if high:
            contenders += _entering(table, session.stack, high, high.hold)
    yield table.in_turn([replace(contender, before=at_rest) for contender in contenders], session.rounds(full=40))


def _entering(
    table: Table, stack: ExitStack, peer: Runc | Podman | Docker, hold: Callable[[], str]
) -> Iterator[Contender]:
    """Nothing where the peer cannot start what is to be entered: the table then has its words."""
    try:
        key = hold()
    except Unavailable as error:
        table.not_measured[peer.name] = str(error)
        return
    stack.callback(peer.release, key)
    yield Contender(name=peer.name, run=lambda: peer.run(peer.enter(key)))


if __name__ == "__main__":
    main("execs", tables)
