"""ssh agents for RUN --mount=type=ssh: a socket of the right mode and owner, behind which the user's own agent answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import HostError

_BLOCK = 1 << 16


@contextlib.contextmanager
def forwarded(agent: Path, place: Path) -> Iterator[None]:
    """Answer at a new socket for an agent's, until the end."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()
    thread = threading.Thread(target=_accept, args=(listener, agent), name="ssh-agent", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        listener.close()
        thread.join(5)


def _accept(listener: socket.socket, agent: Path) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(agent))
        except OSError:
            client.close()
            server.close()
            continue
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(one, other), name="ssh-agent", daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BLOCK):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def of_keys(keys: Sequence[Path], folder: Path) -> Iterator[Path]:
    """The socket of an agent that holds some keys, until the end. HostError where OpenSSH's programs are not there or refuse."""
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        raise HostError("ssh keys need an agent, and ssh-agent is not installed here", hint="install openssh-client")
    place = folder / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            if place.exists() or process.poll() is not None:
                break
            threading.Event().wait(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(place)}
        done = subprocess.run(
            ["ssh-add", "-q", *map(str, keys)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HostError(
                f"ssh-add refused the keys: {done.stderr.strip()}", hint="a key is private and has no passphrase here"
            )
        yield place
    finally:
        process.terminate()
        process.wait()
