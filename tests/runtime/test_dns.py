"""Questions for names, byte by byte."""

from __future__ import annotations

import contextlib
import os
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.runtime import dns
from nbcontainers.runtime.streams import Poller

DEAF = "127.7.7.7"  # where no name server is: an error comes back, and nobody reads it
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WWW\x03net\x00\x00\x01\x00\x01"


def test_a_question_is_read_and_answered() -> None:
    """The name without its case, the type; the answer repeats the question and has the addresses."""
    name, kind, end = dns.parse(QUERY)
    assert (name, kind, end) == ("www.net", dns.A, len(QUERY))
    answer = dns.reply(QUERY, end, dns.A, [b"\x0a\0\0\1", b"\x0a\0\0\2"])
    assert answer[:2] == QUERY[:2]
    assert answer[2] & 0x80
    assert int.from_bytes(answer[6:8], "big") == 2
    assert answer[12:end] == QUERY[12:]
    assert answer.endswith(b"\0\4\x0a\0\0\2")


@given(st.binary(max_size=600))
def test_no_bytes_do_harm(data: bytes) -> None:
    """What is no question is refused as such."""
    try:
        name, _, end = dns.parse(data)
    except (dns.BadQuery, IndexError):
        return
    assert len(name) <= 255
    assert end <= len(data)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.18.172.in-addr.arpa", "172.18.0.2"),
        ("1." + "0." * 30 + "f.ip6.arpa", "f000::1"),
        ("x.ip6.arpa", ""),
        ("example.org", ""),
    ],
)
def test_addresses_are_read_backwards(name: str, address: str) -> None:
    """As in-addr.arpa and ip6.arpa write them."""
    assert dns._reversed_address(name) == address


def test_one_who_floods_keeps_nobody_from_an_answer() -> None:
    """Of a guest's connections the newest stay and the others are closed; its questions that go out are counted."""
    poller = Poller()
    resolver = dns.Resolver(poller)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    for one in (udp, tcp):
        one.bind(("127.0.0.1", 0))
    tcp.listen(16)
    guest = dns.Guest(lambda name, size: [b"\x0a\0\0\1"] if name == "www.net" else None, lambda address: "", [DEAF])
    resolver.serve(udp, tcp, guest)
    before = len(os.listdir("/proc/self/fd"))
    flood = []
    for _ in range(300):
        flood.append(socket.create_connection(tcp.getsockname()))
        poller.turn()
    assert len(os.listdir("/proc/self/fd")) - before - len(flood) < 20
    flood[-1].sendall(len(QUERY).to_bytes(2, "big") + QUERY)
    while not select.select([flood[-1]], [], [], 0)[0]:
        poller.turn()
    assert flood[-1].recv(1000).endswith(b"\0\4\x0a\0\0\1")
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refused = 0
    for number in range(400):
        asking.sendto(number.to_bytes(2, "big") + QUERY[2:].replace(b"WWW", b"xyz"), udp.getsockname())
        poller.turn()
        with contextlib.suppress(BlockingIOError):
            refused += asking.recv(1000, socket.MSG_DONTWAIT)[3] & 0xF == 2
    assert refused >= 100
    assert guest.pending < 300
    resolver.leave(guest, udp, tcp)
    assert not guest.streams
    for one in (*flood, asking, *(each for sockets in resolver._outgoing.values() for each in sockets)):
        one.close()
