"""``build`` as a user types it: names, outputs, how it is told, and why."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.cli.console import Console
from nbcontainers.cli.main import run
from tests.cli.saying import said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a Dockerfile that copies a file."""
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a.txt /\nWORKDIR /w\n")
    (folder / "a.txt").write_text("1\n")
    return folder


def heard(engine: Engine, words: str) -> list[str]:
    """The lines on standard error."""
    err = io.StringIO()
    assert run(words.split(), engine=engine, console=Console(io.StringIO(), err)) == 0
    return err.getvalue().splitlines()


def test_explain_says_why(engine: Engine, place: Path) -> None:
    """Below each step that was executed again."""
    assert "      built for the first time here" in heard(engine, f"build --explain {place}")
    (place / "a.txt").write_text("2\n")
    lines = heard(engine, f"build --explain {place}")
    assert [line.strip() for line in lines if "rebuilt" in line] == [
        "rebuilt: a.txt changed",
        "rebuilt: the step above was",
    ]
    assert not [line for line in heard(engine, f"build {place} --no-cache") if "rebuilt" in line]
    lines = heard(engine, f"build {place} --no-cache-filter stage-0 --explain")
    assert [line.strip() for line in lines if "rebuilt" in line] == ["rebuilt: the cache was not to be used"] * 2


def test_progress_as_json_and_not_at_all(engine: Engine, place: Path) -> None:
    """Every line is an object; tty without a terminal is refused."""
    told = [json.loads(line) for line in heard(engine, f"build --progress json {place}")]
    assert [one["event"] for one in told] == ["StepStarted", "StepFinished"] * 3
    assert heard(engine, f"build --progress quiet {place}") == []
    assert "[1/3] FROM scratch" in heard(engine, f"build --progress plain {place}")
    assert "wants a terminal" in said(engine, f"build --progress tty {place}", code=1)
    assert "known are auto" in said(engine, f"build --progress loud {place}", code=125)


def test_names_and_files(engine: Engine, place: Path, tmp_path: Path) -> None:
    """Several names; the ID on standard output and in the file is the same; without an image there is none."""
    printed = said(engine, f"build -q -t one -t two:2 --iidfile {tmp_path}/id {place}")
    assert printed.strip() == (tmp_path / "id").read_text() == engine.image("one").id == engine.image("two:2").id
    assert said(engine, f"build -o {tmp_path}/out {place}") == ""
    assert (tmp_path / "out/a.txt").read_text() == "1\n"


def test_standard_output_takes_the_tar_alone(engine: Engine, place: Path) -> None:
    """What else is said goes to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "nbcontainers", "build", "-o", "-", str(place)],
        env={**os.environ, "NBCONTAINERS_ROOT": str(engine.store.root)},
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "a.txt" in [name.strip("./") for name in archive.getnames()]
