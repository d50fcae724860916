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


def test_the_first_of_two_reports_counts() -> None:
    """The supervisor and the first process write to the same end."""
    first = report.failure("identity", 1, "why", 125)
    assert report.read(first + report.failure("exec", 2, "no", 127)) == ("identity", 1, "why", 125)
    assert report.read(first + b"x") == ("identity", 1, "why", 125)


@pytest.mark.parametrize("told", [b"", b"exec\0two\000127\0words", b"exec\0002", b"a\0" + b"9" * 9999 + b"\0001\0b"])
def test_disorder_is_told_as_such(told: bytes) -> None:
    """It may come from a program that has taken over what was to start it."""
    assert report.read(b"x") == DISORDER
    assert report.read(b"\0" + len(told).to_bytes(4, "little") + told) == DISORDER
