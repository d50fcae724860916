"""A real Debian as an image, made once on a machine by mmdebstrap through the mirror that apt is set up for."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from nbcontainers.oci.image import Image

# Not what PostgreSQL needs to compile queries, nor what people would read: half of all bytes.
_UNUSED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "*/libLLVM*", "*/llvmjit*", "*/lib/bitcode/*")
# What is made: mmdebstrap's words by the tag of the image. Other words want another tag, for what was made stays.
_KINDS = {
    "test": ("--include=ca-certificates,python3-pip",),
    "servers": (
        "--include=postgresql,redis-server,nginx-light,mosquitto,mosquitto-clients,gunicorn,python3-flask,python3-psycopg2,"
        "python3-redis,python3-paho-mqtt",
        *(f"--dpkgopt=path-exclude={path}" for path in _UNUSED),
        "--essential-hook=mkdir -p $1/etc/postgresql-common",
        "--essential-hook=echo create_main_cluster=false >$1/etc/postgresql-common/createcluster.conf",
    ),
}
_PATIENT = ('--aptopt=Acquire::Retries "5"', '--aptopt=Acquire::http::Timeout "60"')  # a mirror may not answer at once
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER, _MANIFEST = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def load(engine: object, kind: str = "test") -> Image:
    """Debian bookworm as ``debian:KIND``; skips where it is not there and cannot be made.

    ``test`` has apt, pip and certificates, ``servers`` PostgreSQL, Redis, nginx, mosquitto and Flask.
    """
    with _archive(kind) as stream:
        return engine.load(stream)[0]  # type: ignore[attr-defined]


def tree(kind: str) -> Path:
    """Its files as a tar archive; skips as ``load`` does."""
    place = Path(f"/var/tmp/nbcontainers-debian-bookworm{'' if kind == 'test' else f'-{kind}'}.tar")
    if not place.exists():
        if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
            pytest.skip(f"needs {place}, which the tests make with mmdebstrap when they run as root")
        with open(f"{place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                sources = [str(path) for path in (Path("/etc/apt/sources.list.d/debian.sources"),) if path.exists()]
                new = place.with_suffix(".new.tar")
                words = ["--variant=apt", *_PATIENT, *_KINDS[kind], "bookworm", str(new), *sources]
                made = subprocess.run(["mmdebstrap", *words], check=False, capture_output=True, text=True)
                assert made.returncode == 0, made.stderr[-4000:]
                new.chmod(0o644)
                new.rename(place)
    return place


def _archive(kind: str) -> io.BufferedReader:
    """An OCI archive of one layer."""
    made = tree(kind)
    with open(made, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": _MACHINES[platform.machine()],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, value: object) -> dict[str, object]:
        data = json.dumps(value).encode()
        name = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{name}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    layer = {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": made.stat().st_size}
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": blob(_CONFIG, config), "layers": [layer]}
    named = blob(_MANIFEST, manifest) | {
        "annotations": {"io.containerd.image.name": f"docker.io/library/debian:{kind}"}
    }
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    out = open(os.memfd_create("debian"), "w+b")  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in blobs.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        archive.add(made, f"blobs/sha256/{digest}")
    out.seek(0)
    return out  # type: ignore[return-value]
