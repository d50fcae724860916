"""Words of ``-p``: each means ports, or is refused."""

from __future__ import annotations

import pytest

from nbcontainers.engine import publish
from nbcontainers.errors import NBContainersError


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("80", [("", 0, 0, 80, "tcp")]),
        ("8080:80", [("", 8080, 8080, 80, "tcp")]),
        ("0:80", [("", 0, 0, 80, "tcp")]),
        ("127.0.0.1:8080:80/udp", [("127.0.0.1", 8080, 8080, 80, "udp")]),
        ("127.0.0.1::80", [("127.0.0.1", 0, 0, 80, "tcp")]),
        ("[::1]:8080:80", [("::1", 8080, 8080, 80, "tcp")]),
        ("8000-8001:80-81", [("", 8000, 8000, 80, "tcp"), ("", 8001, 8001, 81, "tcp")]),
        ("8000-8009:80", [("", 8000, 8009, 80, "tcp")]),
        ("80-81/UDP", [("", 0, 0, 80, "udp"), ("", 0, 0, 81, "udp")]),
    ],
)
def test_a_word_means_ports(word: str, meaning: list[tuple[str, int, int, int, str]]) -> None:
    """Address, ports of the host, port of the container, protocol: as docker reads them."""
    read = [(one.address, one.first, one.last, one.port, one.protocol) for one in publish.parse(word)]
    assert read == meaning


@pytest.mark.parametrize(
    "word",
    ["", "a", "80/sctp", "1:2:3", "1.2.3:80:80", "70000:80", "80:0", "9-8:80-81", "80-82:80-81", "::1:80:80", "-80"],
)
def test_what_means_nothing_is_refused(word: str) -> None:
    """With what was wanted."""
    with pytest.raises(NBContainersError):
        publish.parse(word)
