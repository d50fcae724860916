"""The keys that let go of a container."""

from __future__ import annotations

import pytest

from nbcontainers.errors import NBContainersError
from nbcontainers.runtime.keys import Sequence, parse


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@,ctrl-[,ctrl-_", b"\0\x1b\x1f"),
        ("a,b", b"ab"),
        ("ctrl-A", b"\1"),
        ("", b""),
    ],
)
def test_words(words: str, keys: bytes) -> None:
    """As docker writes them."""
    assert parse(words) == keys


@pytest.mark.parametrize("words", ["ctrl-", "ctrl-1", "ab", "ctrl-p,,x"])
def test_what_is_no_key_is_refused(words: str) -> None:
    """With a hint."""
    with pytest.raises(NBContainersError, match="not a key"):
        parse(words)


@pytest.mark.parametrize("pieces", [[b"ab\x10\x11c"], [b"a", b"b\x10", b"\x11c"], [b"ab", b"\x10", b"\x11"]])
def test_they_are_found_in_any_pieces(pieces: list[bytes]) -> None:
    """What was typed before is sent on, the keys are not."""
    sequence, passed = Sequence(b"\x10\x11"), b""
    for piece in pieces:
        typed, leaves = sequence.feed(piece)
        passed += typed
        if leaves:
            break
    assert (passed, leaves) == (b"ab", True)


def test_half_a_sequence_is_sent_on_when_it_goes_otherwise() -> None:
    """Nothing that is typed is lost."""
    sequence = Sequence(b"\x10\x10\x11")
    assert sequence.feed(b"\x10x") == (b"\x10x", False)
    assert sequence.feed(b"\x10\x10\x10\x11") == (b"\x10", True)
