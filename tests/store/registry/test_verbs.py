"""The verbs of registries, and containers and builds whose image is not here yet, as a user has them."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine, NotFound
from nbcontainers.cli import main
from nbcontainers.cli.console import Console
from nbcontainers.events import Event, TransferFinished, TransferStarted
from nbcontainers.oci.descriptor import Digest, Platform
from tests.store.random_images import several
from tests.store.registry.conftest import PASSWORD, Registry, answered


@pytest.fixture(scope="module")
def source(module_path: Path, registry: Registry) -> str:
    """The offline base in the registry, under the name that is returned."""
    name = f"{registry.host}/tools/box:1"
    rules = module_path / "registries.toml"
    rules.write_text("")
    with pytest.MonkeyPatch.context() as patch, Engine(module_path / "source") as engine:
        patch.setenv("NBCONTAINERS_REGISTRIES", str(rules))
        engine.tag(engine.toolbox(), name)
        engine.push(name)
    return name


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "store") as made:
        yield made
        for container in made.containers(all=True):
            container.remove(force=True)


def run(engine: Engine, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code = main.run(words, engine=engine, console=Console(out, err))
    return code, out.getvalue().splitlines(), err.getvalue()


def test_a_build_goes_to_a_registry(engine: Engine, registry: Registry) -> None:
    """``type=registry`` pushes every name, and what is pulled from there is what was built."""
    words = (
        f"build -q -t {registry.host}/built:1 -t {registry.host}/built:2 -o type=registry,registry.insecure=true -f - ."
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"FROM scratch\nLABEL a=b\nWORKDIR /w\n")))
        code, lines, told = run(engine, *words.split())
    assert code == 0, told
    engine.remove_image(f"{registry.host}/built:1")
    engine.remove_image(f"{registry.host}/built:2")
    assert [engine.pull(f"{registry.host}/built:{tag}").id for tag in (1, 2)] == lines * 2


def test_pull_and_push_end_as_docker_s_do(engine: Engine, source: str, registry: Registry) -> None:
    """The digest, the status and the whole name; quiet, the name alone."""
    code, lines, _ = run(engine, "pull", source)
    digest = engine.inspect_image(source)["Descriptor"]["digest"]
    assert code == 0
    assert lines[0] == "1: Pulling from tools/box"
    assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {source}", source]
    assert engine.inspect_image(source)["RepoDigests"] == [f"{registry.host}/tools/box@{digest}"]
    code, lines, _ = run(engine, "pull", source)
    assert lines[-2:] == [f"Status: Image is up to date for {source}", source]
    assert run(engine, "pull", "-q", source)[1] == [source]
    copy = f"{registry.host}/tools/copy"
    run(engine, "tag", source, copy)
    code, lines, _ = run(engine, "push", copy)
    assert code == 0
    assert lines[:2] == ["Using default tag: latest", f"The push refers to repository [{copy}]"]
    assert lines[-1] == f"latest: digest: {digest} size: {engine.inspect_image(copy)['Descriptor']['size']}"
    assert run(engine, "push", "-q", f"{copy}:latest")[1] == [f"{copy}:latest"]
    assert run(engine, "pull", "-aq", copy)[1] == [f"{copy}:latest"]
    assert run(engine, "push", "-a", copy)[0] == 0


def test_an_image_without_the_registry_s_name_is_pushed_once_it_has_it(engine: Engine, registry: Registry) -> None:
    """A name says where it goes. Where only the name's end is known here, the hint is the command that gives it the rest."""
    engine.build("FROM scratch\nLABEL a=b\n", tag="shop")
    for name in (f"{registry.host}/shop", f"{registry.host}/team/shop:2"):
        code, _, told = run(engine, "push", name)
        assert (code, told.splitlines()[-1]) == (1, f"hint: name it so first: 'nbcontainers tag shop {name}'")
        assert run(engine, "tag", "shop", name)[0] == 0
        assert run(engine, "push", name)[0] == 0


def test_one_platform_is_pushed(engine: Engine, registry: Registry) -> None:
    """``--platform`` brings the one image there, and the name stands for it alone; without it the index goes whole."""
    name, foreign = f"{registry.host}/several:1", Platform(architecture="s390x")
    with engine.store.lease():
        _, top = several(engine.store, name, Platform.host(), foreign)
    assert run(engine, "push", name)[0] == 0
    assert Digest.of(answered(registry.host, "/v2/several/manifests/1")[1]) == top.digest
    assert run(engine, "images", "--format", "{{.Digest}}")[1] == [top.digest]
    assert run(engine, "push", "--platform", "linux/s390x", name)[0] == 0
    chosen = engine.variant(name, "linux/s390x").descriptor.digest
    assert Digest.of(answered(registry.host, "/v2/several/manifests/1")[1]) == chosen
    assert "linux/riscv64" in run(engine, "push", "--platform", "linux/riscv64", name)[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull", "--disable-content-trust", "x"], "content trust"),
        (["pull", "-a", "x:1"], "a tag cannot be used"),
        (["pull", "--platform", "linux", "x"], "not a platform"),
        (["pull", "x"], "is blocked"),
        (["push", "nothing:1"], "no such image"),
        (["login", "-p", "x", "--password-stdin"], "mutually exclusive"),
        (["login", "--password-stdin"], "without --username"),
        (["run", "--pull", "sometimes", "x"], "unknown word 'sometimes'"),
    ],
)
def test_what_cannot_be_done_is_refused(engine: Engine, words: list[str], said: str) -> None:
    """With a reason, and a code that is not 0."""
    code, _, err = run(engine, *words)
    assert code != 0
    assert said in err


def test_a_login_takes_its_password_from_standard_input(
    engine: Engine, private: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where it is kept; a wrong one is refused and not kept."""
    words = ["login", private.host, "-u", "reader", "--password-stdin"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
    code, _, err = run(engine, *words)
    assert code == 1
    assert "refuses this user name and password" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\n"))
    code, lines, err = run(engine, *words)
    assert (code, lines) == (0, ["Login Succeeded"])
    assert str(home / ".docker" / "config.json") in err
    assert private.host in json.loads((home / ".docker" / "config.json").read_text())["auths"]
    code, lines, _ = run(engine, "logout", private.host)
    assert (code, lines) == (0, [f"Removing login credentials for {private.host}"])
    code, lines, err = run(engine, "logout", private.host)
    assert (code, lines) == (0, [f"Removing login credentials for {private.host}"])
    assert err.strip() == f"not logged in to {private.host}"


def test_who_is_logged_in_is_not_asked_again(
    engine: Engine, private: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is shown to the registry, in Docker's words; what it refuses now is asked for."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD))
    assert run(engine, "login", private.host, "-u", "reader", "--password-stdin")[0] == 0
    code, lines, err = run(engine, "login", private.host)
    assert (code, lines[-1], err) == (0, "Login Succeeded", "")
    assert lines[0] == "Authenticating with existing credentials... [Username: reader]"
    config = home / ".docker" / "config.json"
    wrong = base64.b64encode(b"reader:changed").decode()
    config.write_text(json.dumps({"auths": {private.host: {"auth": wrong}}}))
    code, lines, err = run(engine, "login", private.host)
    assert (code, lines) == (1, [])
    assert "refuses this user name and password" in err
    assert "no terminal to ask for one" in err
    assert wrong in config.read_text()


def test_run_pulls_what_is_missing_and_nothing_else(engine: Engine, source: str, registry: Registry) -> None:
    """--pull is missing, always or never, as docker has it."""
    with pytest.raises(NotFound, match="no such image"):
        engine.run(source, "true", pull="never")
    code, _, err = run(engine, "run", "--rm", source, "true")
    assert code == 0
    assert err.splitlines()[:2] == [f"Unable to find image '{source}' locally", "1: Pulling from tools/box"]
    asked = registry.requests("GET", "/tools/box/manifests/1")
    code, _, err = run(engine, "run", "--rm", source, "true")
    assert (code, err) == (0, "")
    assert registry.requests("GET", "/tools/box/manifests/1") == asked
    code, _, err = run(engine, "run", "--rm", "--pull", "always", source, "true")
    assert code == 0
    assert "up to date" in err
    with pytest.raises(NotFound, match=r"no such image: .*, and it cannot be pulled: .*manifest unknown"):
        engine.run(f"{registry.host}/tools/nothing:1", "true")


def test_a_pull_keeps_to_the_cap_of_the_disk(
    engine: Engine, source: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was unpacked makes room, and where the images alone are more than the cap, that is said."""
    monkeypatch.setenv("NBCONTAINERS_DISK_LIMIT", "1k")
    for words in (["pull", source], ["pull", "-a", f"{registry.host}/tools/box"]):
        code, _, told = run(engine, *words)
        assert code == 0
        assert "NBCONTAINERS_DISK_LIMIT allows 1024" in told
        assert list(engine.store.layers()) == []


def test_a_build_begins_with_an_image_that_it_pulls(engine: Engine, source: str) -> None:
    """FROM and COPY --from; again only where --pull says so."""
    events: list[Event] = []
    dockerfile = f"FROM {source}\nRUN echo built > /built\n"
    engine.build(dockerfile, on_event=events.append)
    assert any(isinstance(event, TransferStarted) for event in events)
    events.clear()
    engine.build(dockerfile, on_event=events.append)
    assert not any(isinstance(event, TransferStarted) for event in events)
    engine.build(dockerfile, pull=True, on_event=events.append)
    assert [event.fresh for event in events if isinstance(event, TransferFinished)] == [False]


def test_a_check_brings_again_what_a_registry_has(engine: Engine, source: str) -> None:
    """A flipped byte in a layer that came from there is healed."""
    image = engine.pull(source)
    path = engine.store.content.path(image.id)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert any(fault.name == image.id for fault in engine.check().faults)
    assert all(fault.repaired for fault in engine.check(repair=True).faults)
    assert path.read_bytes() == whole
    assert not engine.check().faults
