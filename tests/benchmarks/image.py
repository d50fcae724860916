"""The image that every contender starts from: a static busybox, as an archive that is an OCI and a Docker one at once."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from .spawn import Unavailable

NAME = "bench-base:latest"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OCI = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Base:
    """``root`` holds the files of the image, ``archive`` the image, ``layer`` its one layer as a gzipped tar."""

    root: Path
    archive: Path
    layer: Path

    @classmethod
    def at(cls, folder: Path) -> Base:
        """The image below a session's folder, made when it is first asked for; Unavailable without a static busybox."""
        base = cls(folder / "base", folder / "base.tar", folder / "base.tgz")
        if not base.archive.exists():
            _plant(base.root)
            base.layer.write_bytes(pack(base.root))
            write(base.archive, NAME, [base.layer.read_bytes()])
        return base


def _plant(root: Path) -> None:
    program = next((path for path in map(shutil.which, ("busybox", "busybox-static")) if path), "")
    if not program or not _is_static(program):
        raise Unavailable("a static busybox is the benchmarks' base image: install busybox-static")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy(program, root / "bin/busybox")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in {*applets} - {"busybox"}:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def _is_static(program: str) -> bool:
    with open(program, "rb") as stream:
        return all(segment.header.p_type != "PT_INTERP" for segment in ELFFile(stream).iter_segments())


def pack(root: Path) -> bytes:
    """The files of a folder as a gzipped tar that depends on their names, modes and bytes only."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = 1_700_000_000
        return entry

    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in sorted(os.listdir(root)):
            archive.add(root / entry, entry, filter=plain)
    return packed.getvalue()


def write(archive: Path, name: str, layers: Sequence[bytes]) -> None:
    """Write an image of gzipped layers: an OCI layout, with Docker's manifest.json beside its index."""
    blobs: dict[str, bytes] = {}

    def put(data: bytes, kind: str) -> dict[str, object]:
        key = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{key}"] = data
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{key}", "size": len(data)}

    def put_json(data: object, kind: str) -> dict[str, object]:
        return put(json.dumps(data).encode(), kind)

    stored = [put(layer, "layer.v1.tar+gzip") for layer in layers]
    config = {
        "created": "2026-01-01T00:00:00Z",
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": [_PATH], "Cmd": ["sh"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}" for layer in layers],
        },
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "benchmark"} for _ in layers],
    }
    written = put_json(config, "config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": written,
        "layers": stored,
    }
    described = put_json(manifest, "manifest.v1+json")
    described["annotations"] = {
        "org.opencontainers.image.ref.name": name.partition(":")[2],
        "io.containerd.image.name": f"docker.io/library/{name}",
    }

    def path(descriptor: dict[str, object]) -> str:
        return f"blobs/sha256/{str(descriptor['digest']).partition(':')[2]}"

    docker = [{"Config": path(written), "RepoTags": [name], "Layers": [path(entry) for entry in stored]}]
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [described]}).encode(),
        "manifest.json": json.dumps(docker).encode(),
        **blobs,
    }
    with tarfile.open(archive, "w") as stream:
        for file, data in files.items():
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(data), 0o644
            stream.addfile(entry, io.BytesIO(data))
