"""What holds for every test: nothing is asked of a registry that is not the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_registry_is_asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An image that is missing is not looked for on the internet."""
    rules = tmp_path_factory.mktemp("registries") / "registries.toml"
    rules.write_text('[registry."*"]\nblocked = true\n')
    before = os.environ.get("NBCONTAINERS_REGISTRIES")
    os.environ["NBCONTAINERS_REGISTRIES"] = str(rules)
    yield
    if before is None:
        del os.environ["NBCONTAINERS_REGISTRIES"]
    else:
        os.environ["NBCONTAINERS_REGISTRIES"] = before
