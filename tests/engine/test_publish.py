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
        ("0-1:80-81", [("", 0, 0, 80, "tcp"), ("", 1, 1, 81, "tcp")]),
        (":80", [("", 0, 0, 80, "tcp")]),
        ("::80/", [("", 0, 0, 80, "tcp")]),
        ("::1:8080:80", [("::1", 8080, 8080, 80, "tcp")]),
        ("[fd00::1]::80/udp", [("fd00::1", 0, 0, 80, "udp")]),
        ("08080:0080", [("", 8080, 8080, 80, "tcp")]),
    ],
)
def test_a_word_means_ports(word: str, meaning: list[tuple[str, int, int, int, str]]) -> None:
    """Address, ports of the host, port of the container, protocol: as docker reads them."""
    read = [(one.address, one.first, one.last, one.port, one.protocol) for one in publish.parse(word)]
    assert read == meaning


@pytest.mark.parametrize(
    "word",
    [
        *(
            "",
            "a",
            "/",
            "80/sctp",
            "80/foo",
            "1:2:3",
            "1.2.3:80:80",
            "70000:80",
            "80:0",
            "9-8:80-81",
            "80-82:80-81",
            "-80",
        ),
        *(
            "0-5:80",
            "0:80-81",
            "80:80-81",
            "80:",
            "80:90:",
            "1-",
            "80-:80",
            "127.0.0.1:80",
            "[::1]:80",
            ":::80",
            "localhost:80:80",
        ),
        *(" 8080:80", "8080:80 ", "8080: 80", "+80:80", "8080/tcp:80", "\u0668\u0660"),
    ],
)
def test_what_means_nothing_is_refused(word: str) -> None:
    """With what was wanted."""
    with pytest.raises(NBContainersError):
        publish.parse(word)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("80", ""),
        ("8080:80", "8080"),
        ("1000-1002:80", "1000-1002"),
        ("1000-1001:80-81", "1000"),
        ("127.0.0.1::80", ""),
    ],
)
def test_ports_of_the_host_are_shown_as_they_were_asked_for(word: str, shown: str) -> None:
    """As Docker's PortBindings: a range that one of is to be taken is a range, and any free port is none."""
    assert publish.parse(word)[0].host == shown


def test_a_port_of_any_protocol_is_exposed() -> None:
    """It only informs; to publish it is another matter, and refused."""
    (found,) = publish.exposed("80/sctp")
    assert (found.port, found.protocol) == (80, "sctp")
    with pytest.raises(NBContainersError, match="cannot publish sctp"):
        publish.every(["80/sctp"])
    with pytest.raises(NBContainersError, match="no protocol 'foo'"):
        publish.exposed("80/foo")
