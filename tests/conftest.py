"""What holds for every test: nothing is asked of a registry that is not the test's own, and a busy machine is no reason to fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine an example may take long: that says nothing about the code. Nothing is kept from one run for the next: who
# runs the tests may not be the one who may write here.
settings.register_profile("patient", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


# A shell that is no terminal's lets what it starts with "&" ignore interrupts, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
