"""Containers with a single id, whoever runs the tests: root too can make a user namespace in which only root exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.linux import idmap
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime.host import Host
from nbcontainers.runtime.process import Runtime


@pytest.fixture(scope="session")
def host() -> Host:
    """This host, with a single id."""
    found = hosts.probe()
    found.require()
    if found.has_single_id:
        return found
    if not found.allows("user namespace"):
        pytest.skip("user namespaces cannot be made here")
    held = hosts._capabilities(True, guarded=True)
    return dataclasses.replace(found, tier="T2", identity=idmap.single(), capabilities=held)


@pytest.fixture(scope="session")
def runtime(host: Host, run_dir: Path) -> Iterator[Runtime]:
    """One for all tests here."""
    with Runtime(run_dir, host) as made:
        yield made
