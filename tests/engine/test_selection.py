from __future__ import annotations

import pytest

from nbcontainers.engine.selection import Selection, moment
from nbcontainers.errors import NBContainersError


@pytest.mark.parametrize(
    ("word", "instant"),
    [
        ("10m", 9_400),
        ("1h30m", 4_600),
        ("1.5h", 4_600),
        ("250ms", 9_999.75),
        ("1d", -76_400),
        ("5000", 5_000),
        ("5000.5", 5_000.5),
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_a_time_is_a_length_back_from_now_or_an_instant(word: str, instant: float) -> None:
    """``until`` takes Go's durations, RFC 3339 and seconds since the epoch."""
    assert moment(word, now=10_000) == instant


def test_what_no_time_is_says_what_one_is() -> None:
    """A word that is no time is refused with examples."""
    with pytest.raises(NBContainersError, match="not a time: 'yesterday'") as caught:
        moment("yesterday")
    assert "24h" in caught.value.hint


def test_labels_choose_by_key_and_by_value() -> None:
    """All of ``label`` are wanted, and none of ``label!``."""
    chosen = Selection.parse(["label=a", "label=b=1", "label!=c", "label!=d=2"], ("label", "label!"))
    assert chosen.has_labels({"a": "", "b": "1"})
    assert chosen.has_labels({"a": "x", "b": "1", "d": "3"})
    assert not chosen.has_labels({"a": "", "b": "2"})
    assert not chosen.has_labels({"a": "", "b": "1", "c": ""})
    assert not chosen.has_labels({"a": "", "b": "1", "d": "2"})


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("until", "not a filter: 'until'", "KEY=VALUE"),
        ("untill=1h", "no filter 'untill'", "did you mean until="),
        ("colour=red", "no filter 'colour'", "label"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(word: str, message: str, hint: str) -> None:
    """Words without a value and keys that nobody knows are errors with a suggestion."""
    with pytest.raises(NBContainersError, match=message) as caught:
        Selection.parse([word], ("until", "label", "label!"))
    assert hint in caught.value.hint


def test_truth_is_spelled_true_or_false() -> None:
    """``dangling=true`` is read; anything else is refused."""
    assert Selection.parse(["dangling=true"], ("dangling",)).truth("dangling") is True
    assert Selection.parse(["dangling=0"], ("dangling",)).truth("dangling") is False
    assert Selection.parse([], ("dangling",)).truth("dangling") is None
    with pytest.raises(NBContainersError, match="not true or false"):
        Selection.parse(["dangling=maybe"], ("dangling",)).truth("dangling")
