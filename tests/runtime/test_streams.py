"""The far end of a container's streams, with a log that makes way and a reader that is not there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nbcontainers.events import Event
from nbcontainers.runtime.attach import Attachment
from nbcontainers.runtime.poller import Poller
from nbcontainers.runtime.streams import Streams

from .conftest import text


@pytest.mark.parametrize("piece", range(1000, 4000, 125))
def test_what_is_half_sent_when_all_ends_is_in_the_log(tmp_path: Path, piece: int) -> None:
    """Who comes to read only then gets all: the last frame that his socket took may be cut, and the last of its file of the log."""
    poller = Poller()
    streams = Streams(poller, str(tmp_path / "log"), (16 << 10, 2))
    assert streams.own(1)
    streams.find_begin()
    near, far = socket.socketpair()
    streams.attach(far, from_begin=True)
    read, write = os.pipe()
    os.set_blocking(write, False)
    streams.read(read, 1)
    lines = b"".join(b"a line that is not so short %d\n" % number for number in range(30_000))
    sent = 0
    while sent < len(lines) and not streams._is_held:
        sent += os.write(write, lines[sent : sent + piece])
        poller.after(0, lambda: None)
        poller.turn()
    os.close(write)
    streams.drain()
    streams.dismiss()
    events: list[Event] = []
    attachment = Attachment(near, tmp_path / "log", 0)
    attachment.follow(events.append)
    attachment.complete(events.append, streams.written)
    attachment.close()
    assert text(events, "stdout") == lines[:sent].decode()
