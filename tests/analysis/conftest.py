from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.linux.idmap import of_host, single
from nbcontainers.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", identity=single() if os.geteuid() else of_host()) as opened:
        yield opened
