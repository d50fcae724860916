"""An authority for https that no host knows, and what it certifies; made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Authority:
    """A folder with ``ca.crt`` and ``ca.key``."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        if not shutil.which("openssl"):
            pytest.skip("openssl is not installed")
        _openssl(
            folder,
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(),
            *"-keyout ca.key -out ca.crt -subj".split(),
            "/CN=authority of a test",
        )
        return cls(folder)

    @property
    def path(self) -> Path:
        return self.folder / "ca.crt"

    def certificate(self, address: str) -> tuple[Path, Path]:
        """A certificate and its key for an IP address."""
        name = address.replace(".", "-").replace(":", "-")
        names = self.folder / f"{name}.ext"
        names.write_text(f"subjectAltName=IP:{address}\n")
        _openssl(
            self.folder,
            *"req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(),
            *f"-keyout {name}.key -out {name}.csr -subj /CN={address}".split(),
        )
        _openssl(
            self.folder,
            *f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2".split(),
            *f"-extfile {names} -out {name}.crt".split(),
        )
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
