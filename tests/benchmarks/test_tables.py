"""The benchmarks run: each table is made, printed and written, whatever its times are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FULL = os.environ.get("NBCONTAINERS_BENCHMARKS", "quick") == "full"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["starts", "execs", "builds", "layers_commit", "pulls", "usage", "imports", "differences", "paint", "identities"],
)
def test_table_is_made(name: str) -> None:
    """A table measures us, in a process of its own so that pytest's size weighs on nobody; no time fails it."""
    env = {**os.environ, "NBCONTAINERS_BENCHMARKS": "full" if FULL else "quick"}
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{name}"],
        cwd=HERE.parent.parent,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    if done.stdout.startswith("not measured:"):
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    report = json.loads((HERE / "results" / f"{name}.json").read_text())
    assert all(any(row["name"] == "nbcontainers" for row in table["rows"]) for table in report["tables"])
