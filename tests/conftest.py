"""What holds for every test: nothing is asked of a registry that is not the test's own, a busy machine is no reason to fail,
and what a test that passed put on the disk goes with it: stores are large.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.machine import remove

# On a busy machine an example may take long: that says nothing about the code. Nothing is kept from one run for the next: who
# runs the tests may not be the one who may write here.
settings.register_profile("patient", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


# A shell that is no terminal's lets what it starts with "&" ignore interrupts, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _cleared(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder whose content goes at the end, unless a test has failed meanwhile.

    pytest's own removal leaves what is in folders that their owner may not enter, as an overlay's are.
    """
    failed = request.session.testsfailed
    yield folder
    if request.session.testsfailed == failed:
        for path in folder.iterdir():
            remove(path)


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for one test."""
    with _cleared(tmp_path, request) as folder:
        yield folder


@pytest.fixture(scope="module")
def module_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for what the tests of a module have in common."""
    with _cleared(tmp_path_factory.mktemp("module"), request) as folder:
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the tests of several modules have in common goes with the last of them."""
    with _cleared(tmp_path_factory.getbasetemp(), request):
        yield


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
