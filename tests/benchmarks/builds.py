"""A build of eleven instructions: all of them cached, and none with a context that was never seen before.

docker and buildah are asked by their command line, as people do; ours by ``Engine.build``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, main
from .image import NAME
from .ours import Ours
from .peers import Buildah

DOCKERFILE = f"""\
FROM {NAME}
ARG VERSION=1
ENV APP_VERSION=$VERSION
LABEL org.example.title="benchmark"
WORKDIR /app
COPY requirements.txt ./
RUN mkdir -p lib && cp requirements.txt lib/
COPY src/ src/
RUN ls src > list && wc -l list
EXPOSE 8080
CMD ["cat", "/app/list"]
"""


def tables(session: Session) -> Iterator[Table]:
    """The cached build, then the cold one."""
    context = session.folder / "context"
    plant(context)
    ours = session.stack.enter_context(Ours(session.folder))
    docker, buildah = session.open(Docker), session.open(Buildah)

    def contenders(*, cold: bool) -> Iterator[Contender]:
        before = (lambda: renew(context)) if cold else (lambda: None)
        options = ("--no-cache",) if cold else ()
        file = context / "Dockerfile"
        yield Contender(
            name=OURS,
            before=before,
            run=lambda: ours.engine.build(file, context=context, tag="built", no_cache=cold),
        )
        if docker:
            for name, switch in (("BuildKit", "1"), ("classic", "0")):
                build = partial(docker.run, docker.build(context, *options), DOCKER_BUILDKIT=switch)
                yield Contender(name=name, before=before, run=build)
        if buildah:
            yield Contender(name=buildah.name, before=before, run=lambda: buildah.run(buildah.build(context, *options)))

    for cold, limit in ((False, 0.1), (True, 0.3)):
        table = Table(
            title=f"build of eleven instructions, {'cold' if cold else 'all cached'}",
            targets=(Target(peer="BuildKit", limit=limit),),
        )
        if not docker and "docker" in session.absent:
            table.not_measured["BuildKit"] = session.absent["docker"]
        yield table.in_turn(list(contenders(cold=cold)), session.rounds(), warm=not (cold and session.quick))


def plant(context: Path) -> None:
    """Write the Dockerfile and what it copies."""
    (context / "src").mkdir(parents=True)
    (context / "Dockerfile").write_text(DOCKERFILE)
    for number in range(20):
        (context / "src" / f"module_{number}.py").write_text(f"VALUE = {number}\n" * 50)
    renew(context)


def renew(context: Path) -> None:
    """Change a file of each COPY, so that no layer of the next build was ever made before."""
    for name in ("requirements.txt", "src/module_0.py"):
        (context / name).write_text(f"# {secrets.token_hex(16)}\n")


if __name__ == "__main__":
    main("builds", tables)
