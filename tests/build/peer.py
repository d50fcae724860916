"""dockerd's BuildKit as an oracle, and what an image is when it is written down: the same form for its images and ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.waiting import PATIENCE_S

OLD = 1_500_000_000  # times before it are those that files were given; others are of the build


@dataclass(frozen=True)
class Case:
    """One Dockerfile of the corpus: ``options`` are words for ``docker build``, ``files`` are beside those of the context."""

    name: str
    options: tuple[str, ...]
    dockerfile: str
    files: tuple[tuple[str, str], ...] = ()

    @contextmanager
    def context(self, shared: Path) -> Iterator[Path]:
        """The shared context with the case's own files in it."""
        for name, text in self.files:
            (shared / name).write_text(text)
        try:
            yield shared
        finally:
            for name, _ in self.files:
                (shared / name).unlink()


def cases(path: Path) -> list[Case]:
    """The Dockerfiles of a file: each begins with a line ``=== NAME OPTIONS…``, and has the lines up to the next one.

    ``--- FILE`` begins a file that is beside it in the context.
    """
    found = []
    for part in path.read_bytes().decode().split("\n=== ")[1:]:
        head, _, text = part.rstrip("\n").partition("\n")
        name, *options = shlex.split(head)
        text, *files = (text + "\n").split("\n--- ")
        written = [file.partition("\n") for file in files]
        found.append(
            Case(name, tuple(options), text.rstrip("\n") + "\n", tuple((file[0], file[2]) for file in written))
        )
    return found


class Dockerd:
    """A dockerd of our own: no bridge, no packet filter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_BUILDKIT": "1", "HOME": str(folder)}
        self.client = ""
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here; empty if it can."""
        if os.geteuid() != 0:
            return "dockerd needs root"
        return (
            ""
            if shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
            else "needs dockerd (Debian: docker.io)"
        )

    def start(self) -> None:
        words = [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", f"--host={self.env['DOCKER_HOST']}"),
            *(f"--{place}={self.folder / place}" for place in ("data-root", "exec-root", "pidfile")),
            *("--iptables=false", "--ip6tables=false", "--bridge=none", "--exec-opt=native.cgroupdriver=cgroupfs"),
        ]
        with (self.folder / "log").open("wb") as log:
            env = {**self.env, "PATH": f"{self.env['PATH']}:/usr/sbin:/sbin"}
            self._process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not self._choose():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _choose(self) -> bool:
        """The client of the daemon's version: others want plug-ins to build."""
        for folder in (*self.env["PATH"].split(":"), "/usr/bin"):
            path = f"{folder}/docker"
            if os.access(path, os.X_OK):
                words = [path, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"]
                done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False)
                client, _, server = done.stdout.strip().partition(" ")
                if done.returncode == 0 and client == server:
                    self.client, self.version = path, server
                    return True
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            self._process.kill()
            self._process.wait()

    def run(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self.client, *words], env=self.env, input=data, capture_output=True, check=False)

    def load(self, root: Path, name: str) -> dict[str, Any]:
        """Make an image of a folder, as the tests' own base is made; its description."""
        file = self.folder / "Dockerfile"
        file.write_text('FROM scratch\nCOPY . /\nCMD ["sh"]\n')
        done = self.run("build", "-q", "-t", name, "-f", str(file), str(root))
        assert done.returncode == 0, done.stderr
        return described(io.BytesIO(self.run("save", name).stdout))

    def build(self, case: Case, context: Path) -> dict[str, Any]:
        """What BuildKit makes of a case; of an error its last words, and the first and last of the lines that it marks, if any.

        Threads may ask at the same time, but for cases that have files of their own in the context.
        """
        file, tag = self.folder / f"Dockerfile.{case.name}", case.name.lower()
        file.write_bytes(case.dockerfile.encode())
        with case.context(context):
            words = ["build", "--network=host", "-q", "-t", tag, "-f", str(file), *case.options, str(context)]
            done = self.run(*words)
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip()
            lines = [int(number) for number in re.findall(r"^ *(\d+) \| >>> ", told, re.MULTILINE)]
            said = told.splitlines()[-1]
            said = re.sub(rf"{self.folder}/[^ ]*?/merged", "ROOT", said)
            said = re.sub(r"checksum of ref \S+", "checksum of ref REF", said)
            return {"error": said, **({"lines": [lines[0], lines[-1]]} if lines else {})}
        saved = self.run("save", tag)
        if saved.returncode:  # it cannot save an image without layers: then what it tells of it has to do
            (told,) = json.loads(self.run("image", "inspect", tag).stdout)
            return {"author": told["Author"], "config": _set(told["Config"]), "history": None, "tree": []}
        return described(io.BytesIO(saved.stdout))


def described(stream: IO[bytes]) -> dict[str, Any]:
    """An image in an archive of ``docker save``: its configuration without times, and its merged tree, one line a path."""
    with tarfile.open(fileobj=stream) as archive:
        (manifest,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = json.loads(archive.extractfile(manifest["Config"]).read())  # type: ignore[union-attr]
        tree: dict[str, str] = {}
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                _apply(tree, layer)
    return {
        "author": config.get("author", ""),
        "config": _set(config.get("config") or {}),
        "history": [
            [line.get("created_by", ""), bool(line.get("empty_layer"))]
            for line in config.get("history") or ()
            if line.get("comment") == "buildkit.dockerfile.v0"
        ],
        "tree": [f"{path} {line}" for path, line in sorted(tree.items())],
    }


def _set(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value not in (None, "", [], {}, False)}


def _apply(tree: dict[str, str], layer: tarfile.TarFile) -> None:
    for member in layer:
        path = "/" + os.path.normpath("/" + member.name).lstrip("/")
        above, _, base = path.rpartition("/")
        if base == ".wh..wh..opq":
            _remove(tree, above, keep=True)
        elif base.startswith(".wh."):
            _remove(tree, f"{above}/{base[4:]}")
        else:
            if not member.isdir():
                _remove(tree, path)
            tree[path] = _line(tree, layer, member)


def _remove(tree: dict[str, str], path: str, *, keep: bool = False) -> None:
    for name in [name for name in tree if name.startswith(path + "/") or (name == path and not keep)]:
        del tree[name]


def _line(tree: dict[str, str], layer: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.islnk():
        return tree["/" + os.path.normpath("/" + member.linkname).lstrip("/")]
    kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO}
    kind = kinds.get(member.type, stat.S_IFREG)
    mode = stat.filemode(kind | (0o777 if member.issym() else member.mode & 0o7777))
    told = [mode, f"{member.uid}:{member.gid}"]
    if member.isreg():
        content = layer.extractfile(member).read()  # type: ignore[union-attr]
        told += [str(len(content)), hashlib.sha256(content).hexdigest()[:12]]
        told += [str(int(member.mtime))] if member.mtime < OLD else []
    if member.issym():
        told.append(f"-> {member.linkname}")
    if member.ischr() or member.isblk():
        told.append(f"{member.devmajor},{member.devminor}")
    return " ".join(told)


def without(image: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The description without what is as it is in the base, and with the paths that are gone."""
    if "error" in image:
        return image
    known = set(base["tree"])
    below = {line.split(" ")[0] for line in known}
    here = {line.split(" ")[0] for line in image["tree"]}
    changed = [line for line in image["tree"] if line not in known]
    gone = sorted(below - here) if len(below & here) > len(below) // 2 else []
    count, history = len(base["history"]), image["history"]
    if history is not None and history[:count] == base["history"]:
        history = history[count:]
    return {**image, "history": history, "tree": changed + [f"{path} (gone)" for path in gone]}


@contextmanager
def dockerd(folder: Path) -> Iterator[Dockerd]:
    """One that runs as long as it is needed."""
    daemon = Dockerd(folder)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
