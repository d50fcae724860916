"""The benchmarks run: each table is made, printed and written, whatever its times are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FULL = os.environ.get("NBCONTAINERS_BENCHMARKS", "quick") == "full"


NAMES = (
    "starts",
    "execs",
    "builds",
    "layers_commit",
    "pulls",
    "usage",
    "imports",
    "differences",
    "paint",
    "identities",
)
Made = dict[str, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Iterator[Made]:
    """What each of those that were chosen prints; two at a time where only that is wanted, one after another where times are."""
    functions = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path
    ]
    chosen = [item.callspec.params["name"] for item in functions]
    pool = ThreadPoolExecutor(1 if FULL else 2)
    yield {name: pool.submit(measure, name) for name in chosen}
    pool.shutdown(cancel_futures=True)


def measure(name: str) -> subprocess.CompletedProcess[str]:
    """Make a table in a process of its own, so that pytest's size weighs on nobody."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{name}"],
        cwd=HERE.parent.parent,
        env={**os.environ, "NBCONTAINERS_BENCHMARKS": "full" if FULL else "quick"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_table_is_made(name: str, made: Made) -> None:
    """A table measures us; no time fails it."""
    done = made[name].result()
    print(done.stdout)
    if done.stdout.startswith("not measured:"):
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    report = json.loads((HERE / "results" / f"{name}.json").read_text())
    assert all(any(row["name"] == "nbcontainers" for row in table["rows"]) for table in report["tables"])
