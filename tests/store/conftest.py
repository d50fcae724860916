from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.linux.idmap import of_host
from nbcontainers.store.store import Store
from tests.store.validate import validate_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of its own; after the test it is whole, whatever the test did."""
    with Store(tmp_path / "store", identity=of_host()) as opened:
        yield opened
        validate_store(opened)
