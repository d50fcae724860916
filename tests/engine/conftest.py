"""One store with the offline base in it, for all tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Container, Engine
from nbcontainers.events import Output


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


@pytest.fixture(scope="module")
def shell(engine: Engine) -> Callable[..., str]:
    """What a script prints in a container that is removed at its end; it must succeed."""

    def run(script: str, *, image: str = "toolbox", **options: object) -> str:
        said: list[bytes] = []
        container = engine.run(image, "sh", "-ec", script, rm=True, **options)  # type: ignore[arg-type]
        code = container.attach(lambda event: said.append(event.data) if isinstance(event, Output) else None)
        text = b"".join(said).decode()
        assert code == 0, text
        return text

    return run


@pytest.fixture(params=["running", "stopped"])
def container(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Container]:
    """One that has done what the module's SCRIPT says, and said so; it runs, or was stopped then."""
    made = engine.run("toolbox", "sh", "-c", request.module.SCRIPT, detach=True)
    next(iter(made.logs(follow=True)))
    if request.param == "stopped":
        made.stop(0)
    yield made
    made.remove(force=True)
