"""Docker's multiplexed stream: an 8-byte header (stream, three zeros, length as 4 bytes big-endian), then the bytes.

A shim sends streams 1 and 2; whoever is attached sends stream 0, where an empty frame is the end of the input.
Source: Docker Engine API, "Attach to a container", stream format. The shim imports this: only what keeps the zygote small.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 8
LONGEST = 1 << 20  # a peer that announces more is none of ours


class BadFrame(Exception):
    """Bytes that are no frame."""


def frame(stream: int, data: bytes) -> bytes:
    """One frame; ``data`` is not longer than LONGEST."""
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


class Reader:
    """Takes bytes as they come and gives back whole frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames (stream, bytes) that are complete with these bytes; BadFrame when the peer does not speak so."""
        buffer = self._rest + data
        start = 0
        try:
            while len(buffer) - start >= HEADER:
                length = int.from_bytes(buffer[start + 4 : start + HEADER], "big")
                stream = buffer[start]
                if buffer[start + 1 : start + 4] != b"\0\0\0" or length > LONGEST:
                    raise BadFrame(f"a frame of stream {stream} and {length} bytes")
                if len(buffer) - start - HEADER < length:
                    break
                body = buffer[start + HEADER : start + HEADER + length]
                start += HEADER + length
                yield stream, body
        finally:
            self._rest = buffer[start:]
