"""Questions for names, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.runtime import dns

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
