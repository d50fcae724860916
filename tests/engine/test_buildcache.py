"""The records of the build cache: what there is, and what is pruned by name and kind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.cli import main
from nbcontainers.cli.console import Console
from nbcontainers.engine import Engine
from nbcontainers.errors import NBContainersError

TEXT = """FROM toolbox
RUN --mount=type=cache,target=/c,id=downloads echo 12345 > /c/file
RUN --mount=type=cache,target=/c,id=other echo 12345 > /c/file
"""


@pytest.fixture(scope="module")
def built(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as engine:
        engine.build(TEXT, tag="kept")
        yield engine


def said(engine: Engine, *words: str) -> list[str]:
    out = io.StringIO()
    assert main.run(words, engine=engine, console=Console(out, io.StringIO())) == 0
    return out.getvalue().splitlines()


def test_records_are_told_with_what_made_them(built: Engine) -> None:
    """Layers of steps by their instruction, folders by their id."""
    found = built.build_cache()
    assert sum(record.kind == "regular" and record.shared for record in found) == 2
    mounts = {record.description: record for record in found if record.kind == "exec.cachemount"}
    assert set(mounts) == {"cache mount downloads", "cache mount other"}
    assert all(record.size > 0 for record in found)
    lines = said(built, "builder", "du")
    assert len([line for line in lines if "exec.cachemount" in line]) == 2
    assert any("RUN --mount=type=cache" in line for line in lines)
    assert lines[-1].startswith("Total:")
    chosen = said(built, "builder", "du", "--filter", "type=exec.cachemount", "--format", "{{.Type}} {{.Reclaimable}}")
    assert chosen == ["exec.cachemount true"] * 2


def test_a_word_that_is_no_filter_is_refused(built: Engine) -> None:
    """Before anything is gone."""
    for word in ("type=none", "kind=regular", "until=never"):
        with pytest.raises(NBContainersError):
            built.prune(("cache",), filters=[word])
        with pytest.raises(NBContainersError):
            built.build_cache([word])


def test_folders_of_steps_are_pruned_by_their_kind(built: Engine, tmp_path: Path) -> None:
    """Without the steps; the next build makes them anew. One of them goes by its ID."""
    mounts = [record.id for record in built.build_cache(["type=exec.cachemount"])]
    assert said(built, "builder", "prune", "-f", "--filter", f"id={mounts[0]}")[1] == mounts[0][:25]
    assert [record.id for record in built.build_cache(["type=exec.cachemount"])] == mounts[1:]
    said(built, "builder", "prune", "-f", "--filter", "type=exec.cachemount")
    assert built.build_cache(["type=exec.cachemount"]) == ()
    assert all(step.cached for step in built.build(TEXT).steps)
    said(built, "builder", "prune", "-f", "--all", "--filter", "type=regular")
    assert built.build_cache() == ()
    assert built.check().faults == ()
