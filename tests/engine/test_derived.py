from __future__ import annotations

import gzip
import http.server
import io
import lzma
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nbcontainers import DockerfileError, Engine, HostError, IntegrityError, NBContainersError, NotFound
from nbcontainers.engine.options import RunOptions
from nbcontainers.events import Event, Warned
from nbcontainers.oci.descriptor import LAYER_GZIP, LAYER_ZSTD
from nbcontainers.oci.reference import Reference
from tests.store.random_images import random_layer
from tests.store.validate import validate
from tests.waiting import until


def files(engine: Engine, *names: str) -> set[str]:
    """The paths in the last layer of an image."""
    from nbcontainers.store import unpacked

    found: set[str] = set()
    for name in names:
        image = engine.image(name)
        engine.store.snapshots.unpack(image)
        found |= {entry.path for entry in unpacked.index(engine.store.root, image.chain_ids[-1])}
    return found


def test_a_container_becomes_an_image(engine: Engine) -> None:
    """What it wrote is one more layer, its words are the image's, and the changes come last; it runs as it was."""
    words = {"env": ["A=1", "HOMEPAGE=2"], "tty": True, "workdir": "/tmp", "labels": ["l=1"]}
    container = engine.run("toolbox", "sh", "-c", "echo hi > /tmp/made", **words)  # type: ignore[arg-type]
    container.wait()
    made = engine.commit(container, "made:1", author="me", message="why", changes=['CMD ["cat", "made"]', "ENV B=$A"])
    base = engine.image("toolbox")
    validate(engine.store, made)
    assert made.layers[:-1] == base.layers
    config = made.config.config
    assert {"A=1", "B=1", "HOMEPAGE=2"} <= set(config.env)
    assert not {entry for entry in config.env if entry.startswith(("HOSTNAME=", "HOME=", "TERM="))}
    assert (config.cmd, config.working_dir, config.labels["l"]) == (("cat", "made"), "/tmp", "1")
    assert (made.config.author, made.config.history[-1].comment) == ("me", "why")
    assert "/tmp/made" in files(engine, "made:1")
    again = engine.run("made:1")
    events: list[Event] = []
    assert again.attach(events.append) == 0
    again.remove()
    container.remove()
    assert engine.check().faults == ()


def test_an_image_has_the_words_of_the_container(engine: Engine) -> None:
    """Its ports, its volumes and its stop signal, those of its own image among them, are the next container's too, as in Docker."""
    words: RunOptions = {"expose": ["99"], "volumes": ["/cache", "named:/data"], "stop_signal": "INT"}
    container = engine.create("toolbox", "true", **words)
    config = engine.commit(container, "worded:1", changes=["EXPOSE 80/udp", "VOLUME /more"]).config.config
    assert (config.exposed_ports, config.volumes) == (("80/udp", "99/tcp"), ("/cache", "/more"))
    assert config.stop_signal == "INT"
    again = engine.create("worded:1")
    assert engine.commit(again, "worded:2").config.config == config
    for one in (again, container):
        one.remove(volumes=True)
    engine.remove_volume("named")


def test_a_container_commits_itself(engine: Engine) -> None:
    """As the engine does it: a name is enough, and nothing need be said."""
    container = engine.create("toolbox", "true")
    assert container.commit("own:1").id == engine.image("own:1").id
    assert container.commit(Reference.parse("own:2"), author="me").config.author == "me"
    assert container.commit().reference is None
    told = container.commit("own:3", message="why", changes=["ENV A=1"]).config
    assert (told.history[-1].comment, "A=1" in told.config.env) == ("why", True)


def test_a_path_that_nobody_gave_is_not_committed(engine: Engine, tmp_path: Path) -> None:
    """Programs have one where the image has none, but ``inspect`` and ``commit`` tell what image and user said, as Docker's do."""
    (tmp_path / "file").write_text("x")
    bare = engine.build("FROM scratch\nCOPY file /\n", context=tmp_path).image
    assert bare is not None
    image = engine.store.images.create(replace(bare.config, config=replace(bare.config.config, env=())), bare.layers)
    for env, expected in ((), ()), (("A=1",), ("A=1",)), (("PATH=/x",), ("PATH=/x",)):
        container = engine.create(image, "/file", env=env)
        assert any(word.startswith("PATH=") for word in container.spec.process.env)
        assert engine.commit(container).config.config.env == expected
        container.remove()


def test_a_running_container_is_committed_and_goes_on(engine: Engine) -> None:
    """It is paused meanwhile where the host can, says so where not, and runs on afterwards."""
    container = engine.run("toolbox", "sh", "-c", "while :; do date > /tmp/now; sleep 0.01; done")
    until(container.changes)
    events: list[Event] = []
    made = engine.commit(container, compression="zstd", on_event=events.append)
    assert container.state.status == "running"
    assert made.layers[-1].media_type == LAYER_ZSTD
    assert "/tmp/now" in files(engine, made.id)
    warned = [event for event in events if isinstance(event, Warned)]
    assert all("goes on while it is committed" in event.message for event in warned)
    now = engine.store.root / "snapshots" / container.id[:12] / "upper" / "tmp" / "now"
    before = now.stat().st_mtime_ns
    until(lambda: now.stat().st_mtime_ns != before)
    container.remove(force=True)
    engine.remove_image(made.id)


def test_a_change_that_is_none_is_refused_before_anything_is_made(engine: Engine) -> None:
    """Only what changes a configuration may be a change."""
    container = engine.create("toolbox", "true")
    images = engine.images()
    for change in ("RUN true", "FROM x", "COPY a b", "CMD"):
        with pytest.raises(DockerfileError):
            engine.commit(container, changes=[change] if change != "CMD" else ["CMMD x"])
    assert engine.images() == images
    container.remove()


def test_a_changed_command_is_not_called_escaped(engine: Engine) -> None:
    """``--change CMD`` sets no ArgsEscaped, as Docker's does not, and a container's image has none though its own image says so."""
    built = engine.build("FROM toolbox\nCMD true\n", tag="escaped").image
    assert built.config.config.args_escaped
    container = engine.create("escaped")
    for changes in ([], ['CMD ["x"]'], ["CMD x", "ENTRYPOINT y"]):
        made = engine.commit(container, changes=changes)
        assert not made.config.config.args_escaped
        engine.remove_image(made)
    container.remove()
    made = engine.import_(io.BytesIO(random_layer(1)), "escaped", changes=["CMD x"])
    assert (made.config.config.cmd, made.config.config.args_escaped) == (("/bin/sh", "-c", "x"), False)
    engine.remove_image(made)


@pytest.mark.parametrize(
    ("image", "words", "expected"),
    [
        ("checked", {"no_healthcheck": True}, {"Test": ["NONE"], "Interval": 7_000_000_000}),
        ("toolbox", {"no_healthcheck": True}, {"Test": ["NONE"]}),
        ("checked", {}, {"Test": ["CMD-SHELL", "true"], "Interval": 7_000_000_000}),
        ("checked", {"health_cmd": "false"}, {"Test": ["CMD-SHELL", "false"], "Interval": 7_000_000_000}),
        ("checked", {"health_interval": "9s"}, {"Test": ["CMD-SHELL", "true"], "Interval": 9_000_000_000}),
        ("unchecked", {}, {"Test": ["NONE"]}),
        ("unchecked", {"health_cmd": "false", "health_retries": 4}, {"Test": ["CMD-SHELL", "false"], "Retries": 4}),
        ("toolbox", {}, None),
    ],
)
def test_an_image_has_the_check_of_the_container(
    engine: Engine, image: str, words: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """What was taken away does not come back with the image below; of the container too it is said that it was. As Docker 20.10."""
    engine.build("FROM toolbox\nHEALTHCHECK --interval=7s CMD true\n", tag="checked")
    engine.build("FROM checked\nHEALTHCHECK NONE\n", tag="unchecked")
    container = engine.create(image, "true", **words)
    check = engine.commit(container).config.config.healthcheck
    assert (check and check.to_json()) == expected
    shown = container.inspect()["Config"].get("Healthcheck")
    if expected is None or expected["Test"] == ["NONE"]:
        assert shown == expected
    else:
        assert shown["Test"] == expected["Test"]


def test_an_image_is_removed_by_itself(engine: Engine) -> None:
    """An Image goes by its name while that is its, and by its ID when another one has the name; what is no name is told so."""
    first = engine.build("FROM scratch\nLABEL a=1\n", tag="moved").image
    engine.tag(first, "kept")
    assert engine.remove_image(first) == ("Untagged: moved:latest",)
    second = engine.build("FROM scratch\nLABEL a=2\n", tag="kept").image
    assert engine.remove_image(engine.image(first.id))[0] == f"Deleted: {first.id}"
    third = engine.build("FROM scratch\nLABEL a=3\n", tag="kept").image
    assert engine.remove_image(second)[0] == f"Deleted: {second.id}"
    assert engine.remove_image(third)[0] == "Untagged: kept:latest"
    with pytest.raises(NBContainersError, match="a name is wanted"):
        engine.remove_image(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_a_root_file_system_becomes_an_image(engine: Engine, tmp_path: Path, pack: object) -> None:
    """Whatever the archive is compressed by, the layer is the same, of gzip, and vouched for by its diff ID."""
    archive = tmp_path / "root.tar"
    archive.write_bytes(pack(random_layer(1)))  # type: ignore[operator]
    made = engine.import_(archive, "imp", changes=["CMD true", "EXPOSE 80"], message="from afar")
    validate(engine.store, made)
    (layer,) = made.layers
    assert layer.media_type == LAYER_GZIP
    assert (made.config.config.cmd, made.config.config.exposed_ports) == (("/bin/sh", "-c", "true"), ("80/tcp",))
    assert made.config.history[0].comment == "from afar"
    with archive.open("rb") as stream:
        other = engine.import_(stream, platform="linux/arm/v7")
    assert other.layers == made.layers
    assert str(other.config.platform) == "linux/arm/v7"
    engine.remove_image(other.id)
    engine.remove_image("imp")


def escaping() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../escape"))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", random_layer(1)[:2000], gzip.compress(random_layer(1))[:-20], escaping()],
    ids=["empty", "words", "cut", "cut gzip", "escaping"],
)
def test_what_is_no_file_system_leaves_nothing(engine: Engine, data: bytes) -> None:
    """Empty, damaged or hostile archives are errors, and nothing of them stays."""
    before = (engine.images(), set(engine.store.content), engine.store.layers())
    with pytest.raises(IntegrityError):
        engine.import_(io.BytesIO(data), "imp")
    assert (engine.images(), set(engine.store.content), engine.store.layers()) == before


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "root.tar.gz").write_bytes(gzip.compress(random_layer(3)))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_system_comes_from_an_address(engine: Engine, address: str) -> None:
    """An address is fetched as it is; what cannot be is an error that says what came."""
    made = engine.import_(f"{address}/root.tar.gz")
    validate(engine.store, made)
    assert made.config.history[0].comment == f"Imported from {address}/root.tar.gz"
    engine.remove_image(made.id)
    with pytest.raises(NotFound, match="answers 404"):
        engine.import_(f"{address}/other")
    with pytest.raises(HostError, match="cannot be fetched"):
        engine.import_("http://127.0.0.1:1/root.tar")
    with pytest.raises(NotFound, match="no archive at"):
        engine.import_("missing.tar")
    with pytest.raises(NBContainersError, match="platform"):
        engine.import_(f"{address}/root.tar.gz", platform="a/b/c/d")
