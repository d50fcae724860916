"""The same specification under another runtime: what we write is what the standard means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from nbcontainers.oci.runtime import Resources, RuntimeSpec

from .conftest import Box


@pytest.mark.peer(name="runc")
def test_runc_accepts_a_specification(box: Box, tmp_path: Path) -> None:
    """``runc run`` on config.json and a copy of the root: same output, same rights."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    shutil.copytree(box.lower, bundle / "rootfs", symlinks=True)
    script = "echo $$; id -u; hostname; pwd; grep -e CapEff -e Seccomp: /proc/self/status; exit 5"
    limits = Resources(memory=256 << 20, pids=100) if os.geteuid() == 0 else None
    name = f"nbc-{uuid.uuid4().hex[:12]}"
    spec = box.spec("sh", "-c", script, hostname="box1", resources=limits, cgroups_path=f"/{name}" if limits else "")
    written = spec.to_json()
    assert RuntimeSpec.from_json(json.loads(json.dumps(written))).to_json() == written
    (bundle / "config.json").write_text(json.dumps(written))
    done = subprocess.run(
        ["runc", "--root", str(tmp_path / "state"), "run", "--bundle", str(bundle), name],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 1 and "rootless" in done.stderr:
        pytest.skip(f"runc does not run without privilege here: {done.stderr.strip()}")
    ours = box.run("sh", "-c", script, hostname="box1")
    assert (done.returncode, done.stdout) == (5, ours[1]), done.stderr
    assert ours[0] == 5
