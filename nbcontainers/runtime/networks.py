"""An engine's side of networks: finding or starting the holder of a store, and asking it.

The holder itself is ``holder.py``. A connection belongs to one container: with it end the container's places on networks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import marshal
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import HostError, LaunchError
from ..linux import idmap, mapping, rights, syscalls
from . import hints, rundir, spawn
from .host import Host

_PATIENCE_S = 15.0
_ROOM = 1 << 18
_FILE = "holder"  # in the store
_TUN = "/dev/net/tun"
_Heard = TypeVar("_Heard")
PROGRAMS = ("pasta", "slirp4netns")  # that give a network namespace a way out, the better one first


class Connection:
    """A connection to a holder: ``about`` is what it told first; ``userns`` is a descriptor of its user namespace, or -1."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        stream.settimeout(_PATIENCE_S)
        data, descriptors, _, _ = self._hear(lambda: socket.recv_fds(stream, _ROOM, 1))
        if not data:
            raise ConnectionResetError("the holder of networks is gone")
        self.about: dict[str, Any] = marshal.loads(data)  # noqa: S302 - from our own holder, over a private socket
        self.userns = descriptors[0] if descriptors else -1

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._stream.fileno()

    def ask(self, word: str, *arguments: Any, descriptors: Sequence[int] = ()) -> Any:
        """Ask for something and return the answer; LaunchError with the holder's words where it refuses."""
        try:
            socket.send_fds(self._stream, [marshal.dumps((word, *arguments))], list(descriptors))
            data = self._hear(lambda: self._stream.recv(_ROOM))
        except ConnectionError:
            data = b""
        if not data:
            raise LaunchError("the holder of networks is gone", stage="network", hint=hints.AGAIN)
        verdict, what = marshal.loads(data)  # noqa: S302 - from our own holder, over a private socket
        if verdict != "done":
            raise LaunchError(str(what), stage="another start" if verdict == "started" else "network")
        return what

    def _hear(self, receive: Callable[[], _Heard]) -> _Heard:
        """What it says. HostError where it lives and says nothing: another one in its place would hold the same networks again."""
        try:
            return receive()
        except TimeoutError as error:
            pid = rights.peer(self._stream)
            raise HostError(
                f"the process {pid}, which holds the networks, has said nothing for {_PATIENCE_S:g} seconds",
                hint=f"if it was stopped, 'kill -CONT {pid}' lets it go on; 'kill -KILL {pid}' ends it and the containers on its "
                "networks",
            ) from error

    def entered(self) -> list[tuple[int, int]]:
        """What a shim has to enter before it makes a container for these networks: (descriptor, flags)."""
        return [(self.userns, syscalls.CLONE_NEWUSER)] if self.userns >= 0 else []

    def close(self) -> None:
        """Let go of it; a shim that was given the connection keeps it."""
        self._stream.close()
        if self.userns >= 0:
            os.close(self.userns)
            self.userns = -1

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Networks:
    """The holder of one store, which is started when it is first needed.

    Where it listens stands in a file of the store: programs of one user may have different folders for sockets (``rundir``: one
    was started by a person, another by a service), and must not each start a holder. The file is what they lock, too.
    """

    def __init__(self, run_dir: Path, store: Path, host: Host) -> None:
        self.host = host
        self._tag = hashlib.sha256(os.fsencode(store)).hexdigest()[:8]
        self._own = f"{run_dir}/{rundir.HOLDERS}{self._tag}.sock"  # where one listens that is started from here
        self._lock = f"{store}/{_FILE}"

    def connect(self) -> Connection:
        """A new connection to the holder.

        Raises:
            HostError: this host allows no holder, and the message says what was refused; or the one that is there says nothing.
        """
        with self._locked():
            found = self._reach()
            if found is None:
                Path(self._lock).write_bytes(os.fsencode(self._own))  # before it is there: nobody starts one besides
                self._start()
                found = self._reach()
            if found is None:
                raise HostError("the process that holds the networks does not answer", tier=self.host.tier)
            return found

    def look(self) -> Connection | None:
        """A connection to the holder if there is one: none is started. HostError where it says nothing."""
        if not os.path.exists(self._socket):
            return None
        with self._locked():
            return self._reach()

    def places(self) -> list[dict[str, Any]]:
        """Every place that a running container has on a network (see ``bridges.Endpoint.describe``)."""
        connection = self.look()
        if connection is None:
            return []
        with connection:
            return list(connection.ask("list"))

    def forget(self, network_id: str) -> None:
        """Have the bridge of a network that is no more taken away, with the host's route to it.

        A holder that has just ended has no bridge any more, and one that stands still takes it away when it makes its next.
        """
        with contextlib.suppress(LaunchError, HostError):
            connection = self.look()
            if connection is not None:
                with connection:
                    connection.ask("forget", network_id)

    def hurry(self) -> None:
        """Have a holder that nobody needs end now, not in a few seconds."""
        connection = self.look()
        if connection is not None:
            with connection:
                connection.ask("hurry")

    @property
    def _socket(self) -> str:
        """Where the holder listens, or has listened; empty where there was none yet."""
        try:
            return os.fsdecode(Path(self._lock).read_bytes())
        except FileNotFoundError:
            return ""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _reach(self) -> Connection | None:
        path = self._socket
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stream.settimeout(_PATIENCE_S)
        try:
            stream.connect(path)
            return Connection(stream)
        except OSError as error:
            stream.close()
            if isinstance(error, ConnectionRefusedError):  # it was killed, and whoever starts another one has our lock
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            return None
        except HostError:
            stream.close()
            raise

    def _start(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near:
            try:
                # Nothing of an image runs in it, so it needs no sealed interpreter.
                process = spawn.start("holder", stdin=far.fileno(), sealed=False)
            finally:
                far.close()
            process.wait(spawn.START_S)  # it forks itself away
            near.settimeout(spawn.START_S)
            settings = {
                "socket": self._own,
                "lock": self._lock,
                "tag": self._tag,
                "userns": self.host.identity.userns,
                "uplink": way_out(self.host),
            }
            try:
                near.send(marshal.dumps(settings))
                word, what = self._hear(near)
                if word == "unshared":
                    self._map(what)
                    near.send(b"mapped")
                    word, what = self._hear(near)
            except ConnectionError:
                word, what = "failed", "the process that was to hold them was killed"
            except OSError as error:
                word, what = "failed", str(error)
            if word != "ready":
                raise HostError(
                    f"no networks between containers here: {what}",
                    tier=self.host.tier,
                    hint="--network none and --network host need none",
                )

    @staticmethod
    def _hear(near: socket.socket) -> tuple[str, Any]:
        data = near.recv(_ROOM)
        if not data:
            return "failed", "the process that was to hold them ended at once"
        word, *rest = marshal.loads(data)  # noqa: S302 - from our own child, over a private socket
        return word, rest[0] if rest else ""

    def _map(self, pid: int) -> None:
        """Say who is who in the holder's user namespace: the same as in its containers'."""
        identity = self.host.identity
        maps = (idmap.text(identity.uid_mappings), idmap.text(identity.gid_mappings))
        mapping.write(pid, *maps, helped=identity.is_helped)


def way_out(host: Host) -> tuple[str, str]:
    """By what a holder's networks reach the world: (``kernel`` or a program's name, its path), or ("", why they do not)."""
    if not host.identity.userns:
        return "kernel", ""
    found = next(((name, path) for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        return "", f"neither {' nor '.join(PROGRAMS)} is installed"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return "", f"this user may not open {_TUN}, which {found[0]} needs"
    return found
