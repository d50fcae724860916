"""Docker's stream of frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.runtime import frames


def test_a_frame_is_dockers() -> None:
    """The stream's number, three zeros, the length in four bytes big-endian, the bytes."""
    assert frames.frame(2, b"abc") == b"\x02\0\0\0\0\0\0\x03abc"


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_come_whole_however_they_are_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    """A stream socket keeps no borders: the reader finds them again."""
    data = b"".join(frames.frame(stream, body) for stream, body in sent)
    reader = frames.Reader()
    received = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert received == sent


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\0\0\0\0\xff\xff\xff\xff"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    """Another protocol, or a length that would fill the memory, is a BadFrame."""
    with pytest.raises(frames.BadFrame):
        list(frames.Reader().feed(data))
