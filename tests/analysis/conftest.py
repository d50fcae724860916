from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.linux.idmap import of_host
from nbcontainers.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", identity=of_host()) as opened:
        yield opened
