"""build and lint: where the Dockerfile and the context come from, and how errors and findings are told."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest

from nbcontainers import Engine
from tests.cli.saying import said


class Input:
    """Standard input with these bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    (place / "a.txt").write_text("a\n")
    (place / "Dockerfile").write_text("FROM scratch\nCOPY a.txt /\n")
    (place / "bad").write_text("FROM scratch\n# comment\nCOPYY a.txt \\\n  /\nLABEL a=b\n")
    (place / "dubious").write_text("FROM scratch\nMAINTAINER me\n")
    monkeypatch.chdir(place)
    return place


def test_the_dockerfile_and_the_context_may_be_standard_input(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-f -`` reads the one, ``-`` an archive with both, or a Dockerfile alone; they give the same image."""
    usual = said(engine, "build -q .")
    monkeypatch.setattr(sys, "stdin", Input((folder / "Dockerfile").read_bytes()))
    assert said(engine, "build -q -f - .") == usual
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        archive.add(folder, ".")
    monkeypatch.setattr(sys, "stdin", Input(stream.getvalue()))
    assert said(engine, "build -q -") == usual
    monkeypatch.setattr(sys, "stdin", Input(b"FROM scratch\nLABEL a=b\n"))
    assert said(engine, "build -q -").startswith("sha256:")
    assert "name a file for one of them" in said(engine, "build -f - -", code=1)


def test_an_error_shows_the_lines_with_a_mark(engine: Engine, folder: Path) -> None:
    """Those at fault, and those around them; then what to do."""
    told = said(engine, "build -f bad .", code=1)
    assert "> 3 | COPYY a.txt \\\n> 4 |   /\n  5 | LABEL a=b\n" in told
    assert "error: line" in told
    assert "did you mean COPY?" in told
    assert "no Dockerfile at nothing" in said(engine, "build -f nothing .", code=1)
    assert "no context at nowhere" in said(engine, "build nowhere", code=1)


def test_lint_tells_what_is_dubious(engine: Engine, folder: Path) -> None:
    """By the verb or by ``build --check``, with 1 for a code; nothing is built."""
    told = said(engine, "lint -f dubious .", code=1)
    assert told.startswith("MaintainerDeprecated: line 2: ")
    assert "> 2 | MAINTAINER me" in told
    assert said(engine, "build --check -f dubious .", code=1) == told
    assert '"rule":"MaintainerDeprecated"' in said(engine, "lint --format json -f dubious .", code=1)
    assert said(engine, "lint .") == ""
    assert engine.images() == ()


def test_a_build_warns_first(engine: Engine, folder: Path) -> None:
    """Of the same findings, before anything is executed."""
    from nbcontainers.cli.console import Console
    from nbcontainers.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    assert run(["build", "-f", "dubious", "."], engine=engine, console=Console(out, err)) == 0
    assert err.getvalue().startswith("warning: line 2: MaintainerDeprecated: ")
