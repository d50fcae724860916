"""One store with the offline base in it, for all tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbcontainers.engine import Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("store")) as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)
