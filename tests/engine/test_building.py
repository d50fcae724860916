"""Contexts of every kind, what is lent to commands, and the other words of a build, through the engine."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.engine import Engine
from nbcontainers.errors import BuildError, DockerfileError, IntegrityError, NBContainersError, NotFound
from nbcontainers.events import StepFinished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context with a Dockerfile that copies it."""
    place = tmp_path / "context"
    (place / "sub").mkdir(parents=True)
    (place / "Dockerfile").write_text("FROM scratch\nCOPY a.txt sub /got/\n")
    (place / "sub/Dockerfile.other").write_text("FROM scratch\nLABEL other=yes\nCOPY . /\n")
    (place / "a.txt").write_text("a\n")
    (place / "no.txt").write_text("no\n")
    (place / ".dockerignore").write_text("no.txt\nDockerfile\n")
    return place


def archived(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(folder, ".")
    return stream.getvalue()


def test_a_context_may_be_a_tar_archive(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """A file or a stream; the Dockerfile is looked up in it; a stream that is no archive is the Dockerfile."""
    data = archived(folder)
    (tmp_path / "x.tgz").write_bytes(data)
    one = engine.build(Path("Dockerfile"), context=tmp_path / "x.tgz")
    other = engine.build(Path("Dockerfile"), context=io.BytesIO(data))
    assert one.image.config.diff_ids == other.image.config.diff_ids
    chosen = engine.build(Path("sub/Dockerfile.other"), context=io.BytesIO(data))
    assert chosen.image.config.config.labels == {"other": "yes"}
    alone = engine.build(Path("Dockerfile"), context=io.BytesIO(b"FROM scratch\nLABEL a=b\n"))
    assert alone.image.config.config.labels == {"a": "b"}
    with pytest.raises(NotFound, match=r"no Dockerfile 'Dockerfile\.no'"):
        engine.build(Path("Dockerfile.no"), context=io.BytesIO(data))
    with pytest.raises(NotFound):
        engine.build(Path("../../../etc/hostname"), context=io.BytesIO(data))
    assert not list((engine.store.root / "snapshots").iterdir())


def test_a_context_may_be_a_repository(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """At a branch, with a folder of it."""
    place = tmp_path / "made.git"
    folder.rename(place)
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run(["git", "-C", str(place), *identity, *words], check=True, capture_output=True)
    made = engine.build(Path("Dockerfile"), context=f"file://{place}#main")
    assert made.image.config.diff_ids
    made = engine.build(Path("Dockerfile.other"), context=f"file://{place}#main:sub")
    assert made.image.config.config.labels == {"other": "yes"}


def test_a_context_may_be_an_image_in_a_layout(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """By its tag, its digest, or as the only one there; it gets no name here, and a part that is damaged is not taken."""
    base = engine.build("FROM scratch\nCOPY a.txt /\nLABEL base=yes\n", context=folder, tag="based:1").image
    layout = tmp_path / "layout"
    with (tmp_path / "layout.tar").open("wb") as file:
        engine.save([base], file)
    layout.mkdir()
    subprocess.run(["tar", "-xf", str(tmp_path / "layout.tar"), "-C", str(layout)], check=True)
    with Engine(tmp_path / "store") as other:
        for words in (str(layout), f"{layout}@{base.descriptor.digest}"):
            made = other.build(
                "FROM base\nCOPY --from=base /a.txt /b.txt\n", contexts={"base": f"oci-layout://{words}"}
            )
            assert made.image.config.config.labels == {"base": "yes"}
            assert made.image.layers[0] == base.layers[0]
        assert [image.id for image in other.images()] == [made.image.id]
        with pytest.raises(NotFound, match="has no 'none'"):
            other.build("FROM base\n", contexts={"base": f"oci-layout://{layout}:none"})
        with pytest.raises(NotFound, match="no OCI layout"):
            other.build("FROM base\n", contexts={"base": f"oci-layout://{tmp_path}"})
    blob = layout / "blobs/sha256" / base.layers[0].digest.hex
    blob.chmod(0o600)
    blob.write_bytes(b"x" * blob.stat().st_size)
    with Engine(tmp_path / "third") as third, pytest.raises(IntegrityError):
        third.build("FROM base\n", contexts={"base": f"oci-layout://{layout}"})


def test_an_ignored_dockerfile_is_read_all_the_same(engine: Engine, folder: Path) -> None:
    """It is no part of the context then; a NAME.dockerignore beside it counts alone."""
    engine.build(folder / "Dockerfile", context=folder)
    with pytest.raises(DockerfileError, match="left out"):
        engine.build("FROM scratch\nCOPY Dockerfile /\n", context=folder)
    (folder / "Dockerfile.dockerignore").write_text("a.txt\n")
    with pytest.raises(DockerfileError, match="left out"):
        engine.build(folder / "Dockerfile", context=folder)


def test_named_contexts(engine: Engine, folder: Path, tmp_path: Path) -> None:
    """A folder, or an image under another name; an image of that name, with or without its tag, is it."""
    engine.build("FROM scratch\nLABEL mine=yes\nCOPY a.txt /\n", context=folder, tag="mine:1")
    text = "FROM example/base AS b\nFROM other\nCOPY --from=b /a.txt /from-image\nCOPY --from=example/base:latest a.txt /x\n"
    made = engine.build(text, contexts={"example/base": "docker-image://mine:1", "other": folder / "sub"})
    assert made.image.config.config.labels == {}
    made = engine.build("FROM example/base\nLABEL a=b\n", contexts={"example/base": "docker-image://scratch"})
    assert not made.image.layers
    made = engine.build("FROM example/base:latest\n", contexts={"example/base": "docker-image://mine:1"})
    assert made.image.config.config.labels == {"mine": "yes"}
    with pytest.raises(NotFound):
        engine.build("FROM scratch\n", contexts={"x": tmp_path / "nothing"})


def test_what_commands_are_lent(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of files, variables and values, hosts, /dev/shm and limits; labels go into the image."""
    (tmp_path / "s").write_text("from a file")
    monkeypatch.setenv("NBC_TEST_SECRET", "from a variable")
    events: list[object] = []
    text = """FROM toolbox
RUN --mount=type=secret,id=one --mount=type=secret,id=two cat /run/secrets/one /run/secrets/two; \\
    grep -c 10.9.8.7 /etc/hosts; ulimit -n; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2
"""
    made = engine.build(
        text,
        secrets=[f"id=one,src={tmp_path}/s", "id=two,env=NBC_TEST_SECRET"],
        add_host=["db:10.9.8.7"],
        ulimits=["nofile=200:300"],
        shm_size="2m",
        labels=["a=b"],
        on_event=events.append,
    )
    output = b"".join(event.data for event in events if hasattr(event, "data"))
    assert output == b"from a filefrom a variable1\n200\n2048\n"
    assert made.image.config.config.labels["a"] == "b"
    engine.build("FROM toolbox\nRUN --mount=type=secret,id=v test $(cat /run/secrets/v) = x\n", secrets={"v": b"x"})
    with pytest.raises(BuildError):
        engine.build("FROM toolbox\nRUN ls /sys/class/net | grep -v lo\n", network="none")


def test_what_commands_are_held_to_makes_another_layer(engine: Engine) -> None:
    """Limits and the size of /dev/shm are seen by commands, so a layer that was made under others is not taken: as in BuildKit."""
    text = "FROM toolbox\nRUN ulimit -n > /held; df -k /dev/shm >> /held\n"
    layers, reasons = set(), []
    given: list[dict[str, Any]] = [{}, {"ulimits": ["nofile=200:300"]}, {"shm_size": "2m"}, {"shm_size": "3m"}]
    for options in given:
        events: list[object] = []
        layers.add(engine.build(text, tag="held", on_event=events.append, **options).image.layers[-1].digest)
        reasons += [event.reason for event in events if isinstance(event, StepFinished) and event.reason]
        again = engine.build(text, tag="held", on_event=events.append, **options)
        assert again.image.layers[-1].digest in layers
    assert len(layers) == len(given)
    assert any("--ulimit" in reason for reason in reasons), reasons
    assert any("--shm-size" in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"secrets": ["src=x"]}, "not a secret"),
        ({"secrets": ["id=x,src=/no/such/file"]}, "cannot be read"),
        ({"add_host": ["db"]}, "not a host"),
        ({"add_host": ["db:nowhere"]}, "not a host"),
        ({"ulimits": ["nofile"]}, "not a limit"),
        ({"ulimits": ["files=1"]}, "not a limit"),
        ({"network": "bridge7"}, "unknown network"),
        ({"platform": "a/b/c/d"}, "not a platform"),
        ({"platform": "linux/amd64 linux/arm64"}, "not a platform"),
        ({"platform": "linux/amd64,linux/arm64"}, "several platforms where one is wanted"),
        ({"shm_size": "many"}, "not a size"),
        ({"sceret": []}, "unknown option"),
        ({"ssh": ["default=/no/such/key"]}, "no ssh agent or key"),
        ({"ssh": ["a=/dev/null", "a=/dev/zero"]}, "two ssh agents are called 'a'"),
    ],
)
def test_words_that_mean_nothing_are_refused(engine: Engine, options: dict[str, object], words: str) -> None:
    """With what was wanted."""
    with pytest.raises(NBContainersError, match=words):
        engine.build("FROM scratch\n", **options)  # type: ignore[arg-type]


def test_an_id_stands_for_one_agent(engine: Engine, tmp_path: Path) -> None:
    """Several sockets of one id are refused, also where nothing asks for them."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "one"))
        with pytest.raises(NBContainersError, match="several agents"):
            engine.build("FROM scratch\n", ssh=[f"default={tmp_path}/one,{tmp_path}/one"])


def test_an_agent_without_a_name_is_the_default_one(engine: Engine, tmp_path: Path) -> None:
    """As in buildx, where an empty word lends nothing."""
    text = "FROM toolbox\nRUN --mount=type=ssh,required test -S $SSH_AUTH_SOCK\n"
    with pytest.raises(DockerfileError, match="'default' is required, and it was not given"):
        engine.build(text, ssh=[""])
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "one"))
        one.listen()
        engine.build(text, ssh=["", f"={tmp_path}/one"])


def test_an_image_for_another_platform_can_be_made_of_files(engine: Engine, folder: Path) -> None:
    """And says what it is for; a command in it is refused."""
    made = engine.build(
        "FROM scratch\nARG TARGETARCH\nLABEL a=$TARGETARCH\nCOPY a.txt /\n", context=folder, platform="linux/s390x"
    )
    assert made.image.config.platform.architecture == "s390x"
    assert made.image.config.config.labels == {"a": "s390x"}
    with pytest.raises(DockerfileError, match="s390x"):
        engine.build('FROM scratch\nRUN ["x"]\n', platform="linux/s390x")


def test_lint_needs_no_images(engine: Engine, folder: Path) -> None:
    """It tells what it can see, with places; of an image that is not here nothing is supposed."""
    found = engine.lint("FROM not/here\nLABEL a=$MAYBE\nMAINTAINER me\nFROM scratch\nCMD x\n", context=folder)
    assert [(one.rule, one.line) for one in found] == [("MaintainerDeprecated", 3), ("JSONArgsRecommended", 5)]


def test_what_speaks_to_registries_is_loaded_for_them_only() -> None:
    """A build that asks none does not wait for it."""
    code = "import sys; import nbcontainers.build.whole, nbcontainers.engine.caching; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
