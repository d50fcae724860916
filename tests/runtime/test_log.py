"""The container's log: Docker's lines, and nothing lost."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.runtime import log


def test_a_line_stands_as_docker_writes_it() -> None:
    """One JSON object per line, with the text, the stream and the time in nanoseconds."""
    written = log.records(log.STDERR, 'a "b" ü\n'.encode(), 1_700_000_000_000_000_042)
    assert written == '{"log":"a \\"b\\" ü\\n","stream":"stderr","time":"2023-11-14T22:13:20.000000042Z"}\n'.encode()


def test_lines_stand_apart_and_the_unfinished_one_too() -> None:
    """Every line has a record of its own, and what has no newline yet ends without one."""
    written = log.records(log.STDOUT, b"one\ntwo\nthr", 0).splitlines()
    assert [json.loads(line)["log"] for line in written] == ["one\n", "two\n", "thr"]


@given(st.lists(st.tuples(st.sampled_from((log.STDOUT, log.STDERR)), st.binary(min_size=1))))
def test_nothing_is_lost(chunks: list[tuple[int, bytes]]) -> None:
    """Whatever bytes a program writes, text or not, come back from the log in order; each line is JSON with text in it."""
    written = b"".join(log.records(stream, data, 1) for stream, data in chunks)
    lines = written.splitlines(keepends=True)
    parsed = [log.parse(line) for line in lines]
    assert None not in parsed
    for stream in (log.STDOUT, log.STDERR):
        wanted = b"".join(data for kind, data in chunks if kind == stream)
        assert b"".join(entry[1] for entry in parsed if entry and entry[0] == stream) == wanted
    assert all(isinstance(json.loads(line)["log"], str) for line in lines)


def test_bytes_that_are_no_text_stand_whole_beside_it() -> None:
    """A reader of Docker's format sees U+FFFD; ours gets the bytes."""
    (line,) = log.records(log.STDOUT, b"a\xffb\n", 0).splitlines(keepends=True)
    assert json.loads(line)["log"] == "a\ufffdb\n"
    parsed = log.parse(line)
    assert parsed is not None
    assert parsed[1] == b"a\xffb\n"


def test_a_torn_record_is_none() -> None:
    """What a full disk left half written is passed over."""
    (line,) = log.records(log.STDOUT, b"hello\n", 0).splitlines(keepends=True)
    assert all(log.parse(line[:length]) is None for length in range(len(line)))
    assert log.parse(b'{"other": 1}\n') is None


@given(st.text(), st.integers(min_value=0))
def test_characters_are_not_cut(text: str, place: int) -> None:
    """Of the start of a text, the whole characters are taken and no byte that is none of their beginning is held back."""
    data = text.encode()[: place % (len(text.encode()) + 1)]
    whole = log.whole_characters(data)
    assert len(data) - whole < 4
    assert text.startswith(data[:whole].decode())


@given(st.lists(st.sampled_from([b"\n", b"line\n", b"x" * 300, b"\xff"]), min_size=1), st.sampled_from([1, 200, 1000]))
def test_pieces_are_of_whole_lines_and_have_it_all(parts: list[bytes], most: int) -> None:
    """In order, and each has records of no more bytes than was asked for, but for its last line."""
    data = b"".join(parts)
    pieces = log.pieces(data, most)
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    for piece in pieces:
        *before, _ = log.records(log.STDOUT, piece, 0).splitlines(keepends=True)
        assert sum(len(record) for record in before if b"raw" not in record) < most


@given(st.binary())
def test_bytes_that_are_no_text_are_held_back_for_three_at_most(data: bytes) -> None:
    """A program that writes bytes is not kept waiting."""
    assert 0 <= len(data) - log.whole_characters(data) <= 3
