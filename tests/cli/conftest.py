from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "store") as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)
