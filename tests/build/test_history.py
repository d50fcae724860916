"""Times of history lines: known without asking the clock."""

from __future__ import annotations

from nbcontainers.build.history import dated, instant
from nbcontainers.oci.image import History


def times(base: list[str], new: list[str]) -> list[str]:
    return [
        line.created
        for line in dated(tuple(History(created=one) for one in base), tuple(History(created=one) for one in new))
    ]


def test_lines_without_a_layer_have_the_time_of_the_layer_before() -> None:
    """Before the first new layer they have that layer's."""
    assert times(["1"], ["", "2", "", "3", ""]) == ["1", "2", "2", "2", "3", "3"]


def test_without_a_new_layer_the_base_says() -> None:
    """And where it does not, nobody does."""
    assert times(["1", ""], ["", ""]) == ["1", "", "1", "1"]
    assert times([], [""]) == [""]


def test_instants_are_rfc_3339() -> None:
    """In UTC, with a Z."""
    assert instant(0) == "1970-01-01T00:00:00Z"
    assert instant(1.5) == "1970-01-01T00:00:01.500000Z"
