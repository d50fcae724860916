"""Where a registry is spoken to: its name becomes addresses, in the order in which they are tried."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ...errors import InvalidReference
from ...oci.reference import DEFAULT_REGISTRY

DOCKER_HUB = "registry-1.docker.io"
Trust = Literal["strict", "loopback", "insecure"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place that has images of a registry.

    ``host`` is HOST or HOST:PORT; ``prefix`` is put before repositories (of a mirror that has other registries' images in a
    folder); ``key`` is what credentials are kept for. ``strict`` is https with a valid certificate, ``loopback`` http or that,
    ``insecure`` https with any certificate or http.
    """

    host: str
    key: str
    trust: Trust
    prefix: str = ""
    mirror: bool = False

    @property
    def schemes(self) -> tuple[str, ...]:
        """What may be spoken there, in the order in which it is tried."""
        return {"strict": ("https",), "loopback": ("http", "https"), "insecure": ("https", "http")}[self.trust]


def of(registry: str, *, insecure: bool = False) -> Endpoint:
    """The registry itself."""
    host = DOCKER_HUB if registry == DEFAULT_REGISTRY else registry
    return Endpoint(host=host, key=registry, trust=_trust(host, insecure))


def mirror(address: str, *, insecure: bool = False) -> Endpoint:
    """A mirror, ``[https://]HOST[:PORT][/PREFIX]``; ``http://`` says that it is insecure.

    Raises:
        InvalidReference: it is no address.

    """
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidReference(f"invalid mirror {address!r}", hint="a mirror reads HOST[:PORT][/PREFIX]")
    return Endpoint(
        host=parts.netloc,
        key=parts.netloc,
        trust=_trust(parts.netloc, insecure or parts.scheme == "http"),
        prefix=parts.path.strip("/"),
        mirror=True,
    )


def _trust(host: str, insecure: bool) -> Trust:
    if insecure:
        return "insecure"
    return "loopback" if is_loopback(urlsplit(f"//{host}").hostname or "") else "strict"


def is_loopback(name: str) -> bool:
    """True for this machine's own addresses and for localhost, which no answer of a DNS server can make another."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
