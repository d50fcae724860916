"""Questions for names, byte by byte."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.runtime import dns
from nbcontainers.runtime.poller import Poller

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


def serving() -> tuple[Poller, dns.Resolver, socket.socket, socket.socket]:
    """A server of names, and sockets for it to listen at."""
    poller = Poller()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    for one in (udp, tcp):
        one.bind(("127.0.0.1", 0))
    tcp.listen(16)
    return poller, dns.Resolver(poller), udp, tcp


TWICE = QUERY[:5] + b"\2" + QUERY[6:] + QUERY[12:]
OTHER = [QUERY[:2] + bytes([operation << 3 | 1]) + QUERY[3:] for operation in (1, 2, 4, 5)]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (QUERY[:5] + b"\0" + QUERY[6:12], 1),
        (QUERY[:12], 1),
        (QUERY[:-1], 1),
        (QUERY[:12] + b"\xc0\x0c\0\1\0\1", 1),
        (TWICE, 1),
        *((query, 4) for query in OTHER),
        (QUERY[:2] + b"\x81" + QUERY[3:], None),
        (QUERY[:11], None),
        (b"", None),
    ],
)
def test_who_asks_no_question_hears_so(kind: socket.SocketKind, said: bytes, code: int | None) -> None:
    """FORMERR for none, several or a broken one, NOTIMP for anything but QUERY; an answer, or less than a header, is passed over."""
    poller, resolver, udp, tcp = serving()
    guest = dns.Guest(lambda name, size: [b"\x0a\0\0\1"], lambda address: "", [DEAF])
    resolver.serve(udp, tcp, guest)
    is_stream = kind == socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.connect((tcp if is_stream else udp).getsockname())
        for query in (said, b"\xff\xff" + QUERY[2:]):  # the second one is answered whatever the first was
            asking.send(len(query).to_bytes(2, "big") + query if is_stream else query)
        heard = b""
        while b"\xff\xff\x81" not in heard:
            poller.turn()
            with contextlib.suppress(BlockingIOError):
                heard += asking.recv(1 << 16, socket.MSG_DONTWAIT)
    first = heard[: heard.index(b"\xff\xff\x81") - 2 * is_stream]  # before the second answer, and its length
    head = said[:2] + bytes([said[2] | 0x80, code]) + bytes(8) if code else b""
    assert first == (b"\0\x0c" if is_stream and code else b"") + head
    resolver.leave(guest, udp, tcp)
    for one in itertools.chain(*resolver._outgoing.values(), *resolver._asker._idle.values()):
        one.close()


class Server:
    """A server of names with long answers, over TCP only; the first connection it hangs up on."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client, client.makefile("rb") as stream:
                query = stream.read(int.from_bytes(stream.read(2), "big"))
                self.asked.append(query)
                if len(self.asked) > 1:
                    _, _, end = dns.parse(query)
                    answer = dns.reply(query, end, dns.A, [bytes([10, 0, number, 1]) for number in range(200)])
                    client.sendall(len(answer).to_bytes(2, "big") + answer)


def test_long_answers_come_by_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks by TCP has his question, with its extensions, passed on by TCP, again and again; if nobody knows he hears that."""
    server, poller = Server(), Poller()
    monkeypatch.setattr(dns, "PORT", server.socket.getsockname()[1])
    resolver = dns.Resolver(poller)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.create_server(("127.0.0.1", 0))
    tcp.setblocking(False)
    address = tcp.getsockname()
    guest = dns.Guest(lambda name, size: None, lambda address: "", ["127.0.0.1"])
    resolver.serve(udp, tcp, guest)
    extended = QUERY[:11] + b"\1" + QUERY[12:] + b"\0\0\x29\4\xd0\0\0\0\0\0\0"  # EDNS: OPT with 1232 bytes
    for number in range(20):
        with socket.create_connection(address) as client:
            client.sendall(len(extended).to_bytes(2, "big") + extended)
            client.setblocking(False)
            data = b""
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                poller.turn()
                try:
                    data += client.recv(1 << 16)
                except BlockingIOError:
                    continue
        assert int.from_bytes(data[8:10], "big") == (200 if number else 0)
        assert data[5] & 0xF == (0 if number else 2)  # it failed
    assert set(server.asked) == {extended}
    poller.turn()  # the last one has hung up
    resolver.leave(guest, udp, tcp)
    server.end()
    for sockets in (*resolver._outgoing.values(), *resolver._asker._idle.values()):
        for one in sockets:
            one.close()


def test_one_who_floods_keeps_nobody_from_an_answer() -> None:
    """Of a guest's connections the newest stay and the others are closed; its questions that go out are counted."""
    poller, resolver, udp, tcp = serving()
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
    for one in (*flood, asking, *itertools.chain(*resolver._outgoing.values(), *resolver._asker._idle.values())):
        one.close()
