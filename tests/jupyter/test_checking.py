"""What an editor is told of a Dockerfile cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.jupyter import checking, session


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store and a context of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBCONTAINERS_ROOT", str(tmp_path / "store"))
    session.close()
    yield
    session.close()


def told(cell: str) -> list[tuple[str, str, int, int, int, int]]:
    return [
        (one["kind"], one["rule"], one["line"], one["column"], one["end_line"], one["end_column"])
        for one in checking.of(cell)
    ]


def test_what_is_dubious_has_its_place_in_the_cell() -> None:
    """The magic's line counts, too."""
    cell = "%%dockerfile -t x\nFROM scratch\nMAINTAINER me\nLABEL a=b \\\n  c=$NOBODY\n"
    assert told(cell) == [
        ("warning", "MaintainerDeprecated", 3, 1, 3, 14),
        ("warning", "UndefinedVar", 4, 1, 5, 12),
    ]


def test_what_cannot_be_built_is_an_error() -> None:
    """With what to do."""
    (one,) = checking.of("%%dockerfile\nFROM toolbox\nRUM true\n")
    assert (one["kind"], one["line"], one["end_column"]) == ("error", 3, 9)
    assert one["message"] == "unknown instruction 'RUM'"
    assert "RUN" in one["hint"]


def test_the_words_of_the_magic_count() -> None:
    """A build argument that is given, and a target."""
    cell = "ARG NAME\nFROM $NAME AS base\nFROM scratch\nMAINTAINER me\n"
    assert {kind for kind, *_ in told(f"%%dockerfile\n{cell}")} == {"error"}
    assert {kind for kind, *_ in told(f"%%dockerfile --build-arg NAME=scratch\n{cell}")} == {"warning"}


@pytest.mark.parametrize("cell", ["", "print(1)", "%%dockerfile", "%%dockerfile -t\nFROM x", "%%bash\nFROM x\nRUM"])
def test_other_cells_have_none(cell: str) -> None:
    """Nor has one whose own line is not whole."""
    assert told(cell) == []


def test_it_travels_as_json() -> None:
    """As IPython's formatter wants it of user_expressions."""
    found = checking.of("%%dockerfile\nFROM toolbox\nMAINTAINER me\n")
    assert found._repr_json_() == list(found) != []
