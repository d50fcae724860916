"""Docker containers of a dockerd of our own, in which this checkout and its Python are seen: the hosts that many users have.

Their image is empty but for folders and links: the programs are this machine's, bound read-only.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.build.peer import Dockerd

ROOT = Path(__file__).parents[2]
POD = (
    "--user",
    "1000:1000",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--security-opt",
    "seccomp=unconfined",
)
"""As Kubernetes runs a pod that may not be root."""
BARE = ("--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""The same with Docker's own policy of system calls, which allows no namespaces."""


class Docked:
    """Runs commands in containers of Docker's; ``work`` is a folder that they all see as /pod and may write in."""

    def __init__(self, docker: Dockerd, work: Path) -> None:
        self._docker = docker
        self.work = work
        rows = io.BytesIO()
        with tarfile.open(fileobj=rows, mode="w") as archive:
            for name in ("bin", "sbin", "lib", "lib64"):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
                archive.addfile(link)
            for name, text in (
                ("etc/passwd", "root:x:0:0::/pod:/bin/sh\nann:x:1000:1000::/pod:/bin/sh\n"),
                ("etc/group", "root:x:0:\nann:x:1000:\n"),
            ):
                file = tarfile.TarInfo(name)
                file.size = len(text)
                archive.addfile(file, io.BytesIO(text.encode()))
        done = docker.run("import", "-", "box", data=rows.getvalue())
        assert done.returncode == 0, done.stderr

    def run(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in a container that is removed then."""
        shown = {"/usr", "/etc/ld.so.cache", "/etc/alternatives", str(ROOT), sys.prefix, sys.base_prefix}
        binds = [word for path in sorted(shown) if os.path.exists(path) for word in ("--volume", f"{path}:{path}:ro")]
        values = {
            "HOME": "/pod",
            "PATH": f"{sys.prefix}/bin:/usr/sbin:/usr/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "NBCONTAINERS_ROOT": "/pod/store",
        }
        words = ["run", "--rm", "--network", "none", "--volume", f"{self.work}:/pod", "--workdir", str(ROOT)]
        words += [
            "--tmpfs",
            "/tmp:exec,mode=1777",
            *(word for pair in values.items() for word in ("--env", "=".join(pair))),
        ]
        done = self._docker.run(*words, *binds, *options, "box", *command)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def docked(folder: Path) -> Iterator[Docked]:
    """A dockerd that lives as long as this, in a folder."""
    docker = Dockerd(folder)
    try:
        docker.start()
        work = folder / "work"
        work.mkdir()
        os.chown(work, 1000, 1000)
        yield Docked(docker, work)
    finally:
        docker.stop()
        subprocess.run(["umount", "--lazy", f"{folder}/data-root"], capture_output=True, check=False)
