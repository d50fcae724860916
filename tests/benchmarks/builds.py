"""Builds: eleven instructions cached, cold and with a late change, many independent stages, and a context of many files.

docker and buildah are asked by their command line, as people do; ours by ``Engine.build``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
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


MANY = 30
STAGES = "".join(f"FROM {NAME} AS s{n}\nRUN echo {n} > /made\n" for n in range(MANY))
STAGES += "FROM scratch\n" + "".join(f"COPY --from=s{n} /made /made{n}\n" for n in range(MANY))
FILES, FOLDER = 100_000, 100


def tables(session: Session) -> Iterator[Table]:
    """The cached build, the cold one, one with a change late in it; many stages; and a context of many files."""
    context, stages, many = (session.folder / name for name in ("context", "stages", "many"))
    plant(context)
    stages.mkdir()
    (stages / "Dockerfile").write_text(STAGES)
    files = FILES // 50 if session.quick else FILES
    plant_many(many, files)
    builders = Builders(session)
    eleven = "build of eleven instructions"
    yield builders.table(f"{eleven}, all cached", context, limit=0.1)
    warm = not session.quick
    yield builders.table(f"{eleven}, cold", context, limit=0.3, before=renew, cold=True, warm=warm)
    yield builders.table(f"{eleven}, one file of a late COPY changed", context, limit=0.3, before=change, warm=warm)
    yield builders.table(
        f"build of {MANY} independent stages, cold", stages, rounds=5, cold=True, warm=warm, alone=True
    )
    yield builders.table(f"build with a context of {files:,} unchanged files", many, limit=0.3, rounds=7)


class Builders:
    """Every builder that there is."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.ours = session.stack.enter_context(Ours(session.folder))
        self.docker, self.buildah = session.open(Docker), session.open(Buildah)

    def table(
        self,
        title: str,
        context: Path,
        *,
        limit: float = 0,
        rounds: int = 20,
        before: Callable[[Path], object] = lambda context: None,
        cold: bool = False,
        warm: bool = True,
        alone: bool = False,
    ) -> Table:
        """The times of one build; ``limit`` is ours as a multiple of BuildKit's, which may be the only other one."""
        targets = (Target(peer="BuildKit", limit=limit),) if limit else ()
        table = Table(title=title, targets=targets)
        if not self.docker and "docker" in self.session.absent:
            table.not_measured["BuildKit"] = self.session.absent["docker"]
        contenders = list(self.contenders(context, partial(before, context), cold=cold))[: 2 if alone else None]
        return table.in_turn(contenders, self.session.rounds(full=rounds), warm=warm)

    def contenders(self, context: Path, before: Callable[[], object], *, cold: bool) -> Iterator[Contender]:
        """Ours, then those of docker and buildah."""
        options = ("--no-cache",) if cold else ()
        file = context / "Dockerfile"
        yield Contender(
            name=OURS,
            before=before,
            run=lambda: self.ours.engine.build(file, context=context, tag="built", no_cache=cold),
        )
        if docker := self.docker:
            for name, switch in (("BuildKit", "1"), ("classic", "0")):
                build = partial(docker.run, docker.build(context, *options), DOCKER_BUILDKIT=switch)
                yield Contender(name=name, before=before, run=build)
        if buildah := self.buildah:
            yield Contender(name=buildah.name, before=before, run=lambda: buildah.run(buildah.build(context, *options)))


def plant_many(context: Path, files: int) -> None:
    """Write a Dockerfile that copies many small files."""
    for number in range(files):
        folder = context / f"files/{number // FOLDER}"
        if number % FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"file-{number}").write_text(f"{number}\n")
    (context / "Dockerfile").write_text(f"FROM {NAME}\nCOPY files /files\n")


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


def change(context: Path) -> None:
    """Change a file of the last COPY only."""
    (context / "src/module_0.py").write_text(f"# {secrets.token_hex(16)}\n")


if __name__ == "__main__":
    main("builds", tables)
