"""What the host of the tests can do, for those that need it."""

from __future__ import annotations

import pytest

from nbcontainers.errors import HostError
from nbcontainers.runtime import host


def _refusal() -> str:
    try:
        host.probe().require()
    except HostError as error:
        return error.message
    return ""


needs_containers = pytest.mark.skipif(bool(_refusal()), reason=f"needs containers: {_refusal()}")
