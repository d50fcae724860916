"""Whom https trusts: the host's authorities, and those that Docker's and Podman's folders name for one registry.

Source: "Verify repository client with certificates" of Docker's manual; containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from ...errors import HostError

_SYSTEM = tuple(Path("/etc") / name / "certs.d" for name in ("nbcontainers", "docker", "containers"))


def place(host: str, environ: Mapping[str, str]) -> Path:
    """Where this user would put what only https with a host is to trust."""
    return (_SYSTEM[1] if os.geteuid() == 0 else _own(environ)[1]) / host


def folders(host: str, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders that there are for a host (HOST or HOST:PORT), the user's first."""
    return tuple(path for path in (folder / host for folder in (*_own(environ), *_SYSTEM)) if path.is_dir())


def _own(environ: Mapping[str, str]) -> list[Path]:
    config = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config")
    return [config / name / "certs.d" for name in ("nbcontainers", "containers", "docker")]


def context(host: str, environ: Mapping[str, str], *, verify: bool = True) -> ssl.SSLContext:
    """How https with a host is protected: ``*.crt`` are authorities, ``NAME.cert`` with ``NAME.key`` are shown to it.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` hold as for every program that uses OpenSSL.

    Raises:
        HostError: a file cannot be used.

    """
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif not _has_authorities():
        import certifi

        made.load_verify_locations(certifi.where())
    for folder in folders(host, environ):
        try:
            for authority in sorted(folder.glob("*.crt")):
                made.load_verify_locations(authority)
            for certificate in sorted(folder.glob("*.cert")):
                made.load_cert_chain(certificate, certificate.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise HostError(
                f"cannot use the certificates in {folder}: {error}",
                hint="NAME.crt is an authority; NAME.cert and NAME.key, both in PEM, are this client's own",
            ) from error
    return made


def _has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    return any(path and os.path.exists(path) for path in (paths.cafile, paths.capath))
