"""What is told of a command that could not be executed."""

import pytest

from nbcontainers.runtime import report

DISORDER = ("start", 0, "what was to start it has ended, and its report is in disorder", 125)


@pytest.mark.parametrize("words", ["no such file: 'x'", "", "a name of bytes: \udcff", "\0 and more"])
def test_a_failure_is_read_as_it_was_told(words: str) -> None:
    """Whatever its words are."""
    assert report.read(report.failure("exec", 2, words, 127)) == ("exec", 2, words, 127)


def test_no_report_is_no_failure() -> None:
    """Nothing was told."""
    assert report.read(b"") is None


@pytest.mark.parametrize(
    "data", [b"x", b"\0", b"\0exec\0two\0127\0words", b"\0exec\0" + b"2", b"\0a\0" + b"9" * 9999 + b"\0001\0b"]
)
def test_disorder_is_told_as_such(data: bytes) -> None:
    """It may come from a program that has taken over what was to start it."""
    assert report.read(data) == DISORDER
