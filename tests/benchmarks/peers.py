"""The other tools, each on a store, a socket and a cgroup of its own, in a folder that is thrown away.

A peer is opened with ``with``: ``Unavailable`` says why it cannot be. Then its methods return commands, for ``run`` (one at
a time, or several at once) or for a contender's sample.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import ClassVar, Self

from .image import NAME, Base
from .spawn import Elsewhere, Runner, Unavailable, hybrid, together

# Each peer makes its cgroups below this one, but for dockerd, whose parent crun does not take for its own.
CGROUP = f"nbc-bench-{os.getpid()}"
# The limits that every container of the benchmarks has, in docker's words, which podman shares.
LIMITS = ("--memory", "64m", "--cpus", "1", "--pids-limit", "64")
# A root without CAP_SYS_RESOURCE cannot raise limits to what podman and buildah give by default.
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Peer(AbstractContextManager["Peer"]):
    """Another tool; ``folder`` is its own to fill."""

    name: ClassVar[str]
    program: ClassVar[str] = ""
    needs_root: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = shutil.which(self.program or self.name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
        self.env: Mapping[str, str] = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        self.runner: Runner = together
        self._errors = folder / "stderr"

    def __enter__(self) -> Self:
        if not self.path:
            raise Unavailable("not installed")
        if self.needs_root and os.geteuid() != 0:
            raise Unavailable("needs root to do the same work")
        try:
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.runner, Elsewhere):
            self.runner.close()
        remove_cgroups()

    def prepare(self) -> None:
        """What has to stand before the first sample."""

    def version(self) -> str:
        """The first line that the program says of its version."""
        return self.ask("--version").splitlines()[0]

    def command(self, *words: str) -> list[str]:
        """The program with its own places, then ``words``."""
        return [self.path, *words]

    def run(self, *commands: Sequence[str], **env: str) -> None:
        """Run commands at once and wait for all; Unavailable says what the program said when one of them fails."""
        codes = self.runner(commands, {**self.env, **env}, str(self._errors))
        if any(codes):
            code = next(filter(None, codes))
            raise Unavailable(f"exit code {code}: {last_words(self._errors.read_text(errors='replace'))}")

    def ask(self, *words: str) -> str:
        """Run one command and return what it wrote."""
        done = subprocess.run(
            self.command(*words), env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"{words[0]}: exit code {done.returncode}: {last_words(done.stderr)}")
        return done.stdout.strip()

    def hide_unified(self) -> None:
        """Run where crun does not see a v2 tree beside v1 controllers."""
        if tree := hybrid():
            self.runner = Elsewhere(tree)


class Runc(Peer):
    """runc: containers from bundles, and none of the store's work."""

    name = "runc"

    def command(self, *words: str) -> list[str]:
        return [self.path, "--root", str(self.folder / "state"), *words]

    def start(self, bundle: Path, key: str, *options: str) -> list[str]:
        """Run a bundle, to its end unless the options say otherwise."""
        return self.command("run", *options, "--bundle", str(bundle), key)

    def hold(self, bundle: Path) -> str:
        """Start a bundle that goes on until ``release``, and return its key."""
        self.run(self.start(bundle, bundle.name, "--detach"))
        return bundle.name

    def enter(self, key: str) -> list[str]:
        """Run ``/bin/true`` in a container that runs."""
        return self.command("exec", key, "/bin/true")

    def release(self, key: str) -> None:
        """End and remove it."""
        self.run(self.command("delete", "--force", key))


class Crun(Runc):
    """crun, the same in C; told apart by nothing but its name and what it must not see."""

    name = "crun"

    def prepare(self) -> None:
        self.hide_unified()


class Bubblewrap(Peer):
    """bwrap: namespaces and binds; no overlay, cgroups, seccomp, masks or record of the container."""

    name = "bwrap"
    needs_root = False

    def start(self, root: Path) -> list[str]:
        """Run ``/bin/true`` on a folder."""
        words = ("--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "/bin/true")
        return self.command(*words)


class _Containers(Peer):
    """What podman and buildah share: a containers/storage of their own, and crun to run things."""

    _words: ClassVar[tuple[str, ...]]

    def prepare(self) -> None:
        self.hide_unified()
        archive = Base.at(self.folder.parent).archive
        try:
            self.driver = "overlay"
            self._load(archive)
        except Unavailable:
            self.driver = "vfs"
            self._load(archive)

    def _load(self, archive: Path) -> None:
        raise NotImplementedError

    def command(self, *words: str) -> list[str]:
        places = ("--root", str(self.folder / self.driver), "--runroot", str(self.folder / "run"))
        return [self.path, *places, "--storage-driver", self.driver, *self._words, *words]

    def version(self) -> str:
        return f"{super().version()}, {self.driver}"


class Podman(_Containers):
    """podman run --rm."""

    name = "podman"
    _words = ("--cgroup-manager", "cgroupfs", "--events-backend", "none")

    def _load(self, archive: Path) -> None:
        self.run(self.command("load", "--input", str(archive)))

    def start(self) -> list[str]:
        """Run ``/bin/true`` and remove the container."""
        return self.command("run", *self._container("/bin/true"))

    def hold(self) -> str:
        """Start a container that goes on until ``release``, and return its name."""
        self.run(self.command("run", "--detach", "--name", "held", *self._container("/bin/sleep", "1000")))
        return "held"

    def enter(self, key: str) -> list[str]:
        """Run ``/bin/true`` in a container that runs."""
        return self.command("exec", key, "/bin/true")

    def release(self, key: str) -> None:
        """End and remove it."""
        self.run(self.command("rm", "--force", "--time", "0", key))

    def _container(self, *program: str) -> tuple[str, ...]:
        place = ("--cgroup-parent", f"/{CGROUP}", "--network", "none", "--pull", "never")
        return ("--rm", *place, *ULIMITS, *LIMITS, NAME, *program)


class Buildah(_Containers):
    """buildah build and buildah commit."""

    name = "buildah"
    _words = ()

    def _load(self, archive: Path) -> None:
        self.run(self.command("pull", f"docker-archive:{archive}"))

    def build(self, context: Path, *options: str) -> list[str]:
        """Build the context's Dockerfile with a layer for each instruction, as it caches them."""
        place = ("--cgroup-parent", f"/{CGROUP}", "--network", "host", "--pull-never")
        return self.command("build", "--layers", *place, *ULIMITS, "--tag", "built", *options, str(context))


class Umoci(Peer):
    """umoci: layers of an OCI layout, no containers."""

    name = "umoci"


def remove_cgroups() -> None:
    """Remove the cgroups that peers left empty below this process's own names."""
    root = Path("/sys/fs/cgroup")
    for top in (*root.glob(f"{CGROUP}*"), *root.glob(f"*/{CGROUP}*")):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


def last_words(text: str) -> str:
    """The last three lines with something in them: where a program says what went wrong, and what it was doing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "no words"
