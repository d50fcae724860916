"""A private dockerd with containerd and runc below it: no bridge, no packet filter, gone when its benchmark ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S

from .image import NAME, Base
from .peers import CGROUP, LIMITS, Peer, last_words
from .spawn import Unavailable


class Docker(Peer):
    """dockerd and the client that fits it."""

    name = "docker"
    program = "dockerd"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = f"unix://{folder / 'socket'}"
        self.env = {**self.env, "DOCKER_HOST": self.socket, "DOCKER_CLI_HINTS": "false"}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._client = ""

    def prepare(self) -> None:
        self.begin()
        self.run(self.command("load", "--input", str(Base.at(self.folder.parent).archive)))

    def begin(self) -> None:
        """Start the daemon, and wait until it answers."""
        places = ("data-root", "exec-root", "pidfile")
        words = [
            *("setpriv", "--pdeathsig", "TERM", self.path, f"--host={self.socket}"),
            *(f"--{place}={self.folder / place}" for place in places),
            *("--iptables=false", "--ip6tables=false", "--bridge=none"),
            *("--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{CGROUP}-docker"),
        ]
        log = self.folder / "log"
        with log.open("wb") as stream:
            self._daemon = subprocess.Popen(words, env=self.env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        deadline = time.monotonic() + PATIENCE_S
        while not (self.folder / "socket").exists() or not self._choose_client():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"dockerd does not start: {last_words(log.read_text(errors='replace'))}")
            time.sleep(0.05)

    def _choose_client(self) -> bool:
        """Of the clients in PATH, take one of the daemon's version: another may want plug-ins to build."""
        folders = (*os.environ.get("PATH", "").split(":"), "/usr/bin")
        found = dict.fromkeys(path for folder in folders if (path := shutil.which("docker", path=folder)))
        for path in found:
            words = [path, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"]
            done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False)
            client, _, server = done.stdout.strip().partition(" ")
            if done.returncode == 0 and (client == server or not self._client):
                self._client = path
                if client == server:
                    break
        return bool(self._client)

    def __exit__(self, *_: object) -> None:
        if self._daemon is not None:
            self._daemon.terminate()  # it ends its containers and containerd before it goes
            try:
                self._daemon.wait(30)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            # It mounts its own folder on itself, and a daemon that did not start well leaves it so.
            subprocess.run(["umount", "--lazy", f"{self.folder}/data-root"], capture_output=True, check=False)
        super().__exit__()

    def version(self) -> str:
        return self.ask("version", "--format", "{{.Server.Version}}, client {{.Client.Version}}")

    def command(self, *words: str) -> list[str]:
        return [self._client, *words]

    def start(self) -> list[str]:
        """Run ``/bin/true`` and remove the container."""
        return self._container("run", "--rm", program=["/bin/true"])

    def hold(self) -> str:
        """Start a container that goes on until ``release``, and return its name."""
        self.run(self._container("run", "--rm", "--detach", "--name", "held", program=["/bin/sleep", "1000"]))
        return "held"

    def enter(self, key: str) -> list[str]:
        """Run ``/bin/true`` in a container that runs."""
        return self.command("exec", key, "/bin/true")

    def release(self, key: str) -> None:
        """End and remove it."""
        self.run(self.command("rm", "--force", key))

    def _container(self, verb: str, *options: str, program: Sequence[str]) -> list[str]:
        # A cgroup namespace is not Docker's default on v1; with it there are the same six as ours.
        place = ("--cgroupns", "private", "--network", "none")
        return self.command(verb, *options, *place, *LIMITS, NAME, *program)

    def config(self) -> dict[str, Any]:
        """The config.json that dockerd gives runc for ``/bin/true``: limits, device rules, seccomp, masks, binds of /etc/hosts."""
        # The file is there while the container runs: sh waits for a standard input that never ends.
        key = self.ask(*self._container("create", "--interactive", program=["/bin/sh"])[1:])
        try:
            self.run(self.command("start", key))
            (path,) = (self.folder / "exec-root").rglob(f"{key}/config.json")
            config: dict[str, Any] = json.loads(path.read_text())
        finally:
            self.run(self.command("rm", "--force", key))
        config["process"]["args"] = ["/bin/true"]
        config.pop("hooks")  # it joins the network sandbox that dockerd made, and there is none
        return config

    def build(self, context: Path, *options: str) -> list[str]:
        """Build the context's Dockerfile; DOCKER_BUILDKIT in ``env`` says with which builder."""
        return self.command("build", "--network", "host", "--tag", "built", *options, str(context))
