"""An image of 8 layers comes from a registry on loopback and is unpacked; then one comes that shares 7 of them; then it goes there.

A pull ends with a tree that a container could start on. skopeo brings the blobs into an OCI layout, and umoci unpacks that, so the
two together are one contender; docker does both by itself, and takes any certificate of loopback or none. Every contender begins
with nothing of the image, or with the first one for the second table.

A push begins with an image that was pulled, and a registry that has nothing: what is pushed are the blobs that came. skopeo has
them in an OCI layout. docker and podman keep layers unpacked only, and compress them again.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from tests.machine import free_port
from tests.waiting import PATIENCE_S

from . import image, tree
from .docker import Docker
from .harness import OURS, Contender, Session, Table, Target, main
from .ours import Ours
from .peers import Peer, Umoci, last_words
from .spawn import Unavailable

LAYERS = 8
BOTH = "skopeo + umoci"


def tables(session: Session) -> Iterator[Table]:
    """The first pull, then the second, then a push."""
    files, size = (tree.FILES // 30, tree.BYTES // 30) if session.quick else (tree.FILES, tree.BYTES)
    layers = [
        _layer(session.folder / f"tree-{number}", files // LAYERS, size // LAYERS) for number in range(LAYERS + 1)
    ]
    what = f"{LAYERS} layers, {files:,} files, {sum(map(len, layers[:LAYERS])) / 1e6:.0f} MB compressed"
    rules = session.folder / "registries.toml"
    rules.write_text('[registry."docker.io"]\nblocked = true\n')
    os.environ["NBCONTAINERS_REGISTRIES"] = str(rules)  # nothing of this host's own weighs on a pull
    registry = session.open(Registry)
    if registry is None:
        raise Unavailable(f"docker-registry: {session.absent.get(Registry.name, 'not wanted')}")
    ours = session.stack.enter_context(Ours(session.folder))
    first, second = (f"{registry.host}/bench/{name}:latest" for name in ("first", "second"))
    for name, chosen in ((first, layers[:LAYERS]), (second, [*layers[: LAYERS - 1], layers[LAYERS]])):
        archive = session.folder / "pushed.tar"
        image.write(archive, "pushed:latest", chosen)
        with archive.open("rb") as stream:
            (loaded,) = ours.engine.load(stream)
        ours.engine.tag(loaded, name)
        ours.engine.push(name)
        _forget(ours, name, "pushed:latest")
    docker, skopeo, umoci = session.open(Docker), session.open(Skopeo), session.open(Umoci)

    contenders = [
        Contender(
            name=OURS,
            before=partial(_settled, session),
            run=lambda: ours.engine.pull(first),
            after=lambda: _forget(ours, first),
        )
    ]
    if skopeo and umoci:
        room = _Room(session.folder / "layout")
        contenders.append(
            Contender(
                name=BOTH, before=partial(room.empty, session), run=lambda: _with_skopeo(skopeo, umoci, room, first)
            )
        )
    if docker:
        pulled = docker.command("pull", "--quiet", first)
        contenders.append(
            Contender(
                name=docker.name,
                before=partial(_settled, session),
                run=partial(docker.run, pulled),
                after=lambda: docker.run(docker.command("rmi", first)),
            )
        )
    yield Table(title=f"pull and unpack ({what})", targets=(Target(peer=BOTH, limit=1),)).in_turn(
        contenders, session.rounds(full=7), warm=not session.quick
    )

    ours.engine.pull(first)
    before = registry.blobs_given()
    ours.engine.pull(second)
    moved = registry.blobs_given() - before
    _forget(ours, second)
    contenders = [
        Contender(
            name=OURS,
            before=partial(_settled, session),
            run=lambda: ours.engine.pull(second),
            after=lambda: _forget(ours, second),
        )
    ]
    if docker:
        docker.run(docker.command("pull", "--quiet", first))
        contenders.append(
            Contender(
                name=docker.name,
                before=partial(_settled, session),
                run=partial(docker.run, docker.command("pull", "--quiet", second)),
                after=lambda: docker.run(docker.command("rmi", second)),
            )
        )
    table = Table(title=f"pull of an image that shares {LAYERS - 1} of {LAYERS} layers with one that is there")
    table.in_turn(contenders, session.rounds(full=7), warm=not session.quick)
    table.notes.append(f"{moved} blobs moved: one layer and the configuration are 2")
    yield table
    yield _push(session, registry, ours, (docker, skopeo), first)


def _push(
    session: Session, registry: Registry, ours: Ours, peers: tuple[Docker | None, Skopeo | None], name: str
) -> Table:
    """The image called ``name``, which ours has and docker had, goes back to its registry."""
    docker, skopeo = peers
    contenders: dict[str, Callable[[], object]] = {OURS: partial(ours.engine.push, name)}
    if skopeo:
        layout = f"oci:{session.folder}/pushed:latest"
        options = ("--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo.run(skopeo.command(*options, f"docker://{name}", layout))
        contenders[skopeo.name] = partial(skopeo.run, skopeo.command(*options, layout, f"docker://{name}"))
    if docker:
        contenders[docker.name] = partial(docker.run, docker.command("push", "--quiet", name))

    def before() -> None:
        registry.empty()
        _settled(session)

    return Table(title="push of the same image to a registry that has nothing of it").in_turn(
        [Contender(name=called, before=before, run=run) for called, run in contenders.items()],
        session.rounds(full=7),
        warm=not session.quick,
    )


class Registry(Peer):
    """Debian's docker-registry on loopback."""

    name: ClassVar[str] = "docker-registry"
    needs_root: ClassVar[bool] = False

    def prepare(self) -> None:
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        config = self.folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/data}}}}\nhttp: {{addr: '{self.host}'}}\n"
        )
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self.path, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable(f"it does not start: {last_words(self._log.read_text())}") from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        if process := getattr(self, "_process", None):
            process.terminate()
            process.wait(PATIENCE_S)
        super().__exit__()

    def empty(self) -> None:
        """Let it have nothing."""
        shutil.rmtree(self.folder / "data")

    def blobs_given(self) -> int:
        """How many blobs were asked for so far."""
        return sum(1 for line in self._log.read_text().splitlines() if '"GET /v2/' in line and "/blobs/" in line)


class Skopeo(Peer):
    """skopeo: images from place to place."""

    name: ClassVar[str] = "skopeo"
    needs_root: ClassVar[bool] = False


class _Room:
    """A folder for a layout and a bundle, empty before each sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def empty(self, session: Session) -> None:
        """Put away what the last sample left."""
        tree.put_aside(self.folder, self.folder.parent)
        self.folder.mkdir()
        _settled(session)


def _with_skopeo(skopeo: Peer, umoci: Peer, room: _Room, name: str) -> None:
    layout = f"{room.folder}/layout"
    skopeo.run(
        skopeo.command(
            "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:latest"
        )
    )
    umoci.run(umoci.command("unpack", "--image", f"{layout}:latest", f"{room.folder}/bundle"))


def _layer(folder: Path, files: int, size: int) -> bytes:
    """A layer whose files lie in a folder of the layer's own."""
    tree.plant(folder / folder.name, files=files, size=size)
    packed = image.pack(folder)
    shutil.rmtree(folder)
    return packed


def _settled(session: Session) -> None:
    """No one writes back what another one wrote."""
    if not session.quick:
        subprocess.run(["sync"], check=True)


def _forget(ours: Ours, *names: str) -> None:
    """Remove images with all that only they need; unpacked layers are put away."""
    for name in names:
        gone = ours.engine.image(name)
        others = {chain for image in ours.engine.images() if image.id != gone.id for chain in image.chain_ids}
        for chain in set(gone.chain_ids) - others:
            ours.forget_layer(chain)
        ours.engine.remove_image(name)


if __name__ == "__main__":
    main("pulls", tables)
