"""The build cache in another store: through a folder, a registry or the image itself, and never believed unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.build.context import Context, Selected
from nbcontainers.engine import caching
from nbcontainers.errors import NBContainersError
from nbcontainers.events import Event, Output, StepFinished, Warned
from nbcontainers.oci.descriptor import Digest
from tests.build.conftest import is_static
from tests.store.registry.conftest import Registry, answered
from tests.store.registry.test_verbs import run

TEXT = """FROM {base} AS tool
RUN echo tool > /tool
FROM {base}
COPY <<E /a
a
E
RUN echo said; read word < /a; echo $word > /b
COPY --from=tool /tool /tool
RUN read word < /tool; echo $word > /c
"""
Make = Callable[[], Engine]


@pytest.fixture(scope="module")
def base(module_path: Path, registry: Registry) -> str:
    """A static busybox as the shell, in the registry under the name that is returned."""
    program = shutil.which("busybox")
    if program is None or not is_static(program):
        pytest.skip("needs a static busybox (Debian: busybox-static)")
    name = f"{registry.host}/tools/base:1"
    rules = module_path / "registries.toml"
    rules.write_text("")
    with pytest.MonkeyPatch.context() as patch, Engine(module_path / "source") as engine:
        patch.setenv("NBCONTAINERS_REGISTRIES", str(rules))
        (folder := module_path / "shell").joinpath("bin").mkdir(parents=True)
        shutil.copy(program, folder / "bin/sh")
        engine.build("FROM scratch\nCOPY . /\n", context=folder, tag=name)
        engine.push(name)
    return name


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes engines with stores of their own."""
    made: list[Engine] = []

    def engine() -> Engine:
        made.append(Engine(tmp_path / f"store{len(made)}"))
        return made[-1]

    yield engine
    for one in made:
        assert not list((one.store.root / "snapshots").iterdir())
        one.close()


def cached(events: list[Event]) -> list[bool]:
    """For each step, in their order, whether it was cached."""
    ended = {event.number: event.cached for event in events if isinstance(event, StepFinished)}
    return [ended[number] for number in sorted(ended)]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


@pytest.mark.parametrize("kind", ["local", "registry"])
def test_an_empty_store_finds_every_step(make: Make, base: str, registry: Registry, tmp_path: Path, kind: str) -> None:
    """Nothing is executed, and the image has the same layers; a cache is written over the one that had its name."""
    text = TEXT.format(base=base)
    there = {
        "local": f"type=local,dest={tmp_path}/cache",
        "registry": f"type=registry,ref={registry.host}/cache:{kind}",
    }
    here = there[kind].replace("dest=", "src=")
    first = make()
    built = first.build(text, cache_to=[f"{there[kind]},mode=max"])
    first.build(text, cache_to=[f"{there[kind]},mode=max"])
    events: list[Event] = []
    second = make()
    found = second.build(text, cache_from=[here], on_event=events.append)
    assert cached(events) == [True] * 7
    assert not [event for event in events if isinstance(event, Output)]
    assert found.image.config.diff_ids == built.image.config.diff_ids
    assert warnings(events) == []
    assert second.build(text).steps[1].cached  # by its own cache now
    second.remove_image(found.image.id)
    assert second.check().faults == ()


def test_the_least_cache_spares_other_stages(make: Make, base: str, tmp_path: Path) -> None:
    """What the image took from another stage is found by how that is written: nothing of it is made or fetched."""
    text = TEXT.format(base=base)
    built = make().build(text, cache_to=[f"type=local,dest={tmp_path}/cache,tag=least"])
    there, second = f"type=local,src={tmp_path}/cache,tag=least", make()
    events: list[Event] = []
    found = second.build(text, cache_from=[there], on_event=events.append)
    assert cached(events) == [True] * 7
    assert not [event for event in events if isinstance(event, Output)]
    assert found.image.config.diff_ids == built.image.config.diff_ids
    assert all(step.cached for step in second.build(text).steps), "its own cache knows it now"
    assert second.check().faults == ()
    events.clear()
    third = make()
    third.build(text.replace("echo tool ", "echo tool; echo tool "), cache_from=[there], on_event=events.append)
    assert cached(events) == [True, False, True, True, True, True, True], (
        "the stage is written otherwise; its files are the same"
    )
    events.clear()
    make().build(text, cache_from=[there], no_cache_filter=["tool"], on_event=events.append)
    assert cached(events)[1] is False


def test_an_image_brings_its_own_cache(make: Make, base: str, registry: Registry) -> None:
    """By its name alone, as docker has it; and where it is here already, no registry is asked."""
    name = f"{registry.host}/app:1"
    text = f"FROM {base}\nRUN echo once > /once\nENV A=b\nRUN read word < /once; echo $word > /twice\n"
    first = make()
    built = first.build(text, tag=name, cache_to=["type=inline"])
    assert built.image.manifest.annotations
    first.push(name)
    events: list[Event] = []
    second = make()
    assert second.build(text, cache_from=[name], on_event=events.append).image.id == built.image.id
    assert cached(events) == [True, True, True]

    third = make()
    third.pull(name)
    before = registry.requests("GET", "/app/")
    events.clear()
    third.build(text, cache_from=[name], on_event=events.append)
    assert cached(events) == [True, True, True]
    assert registry.requests("GET", "/app/") == before
    assert not third.build(text).image.manifest.annotations


def poisoned(folder: Path, change: Callable[[dict[str, object], Path], None]) -> None:
    """Let somebody change the records of a cache in a folder, who then names them rightly."""
    index = json.loads((folder / "index.json").read_bytes())
    (entry,) = index["manifests"]
    blobs = folder / "blobs/sha256"
    manifest = json.loads((blobs / Digest(entry["digest"]).hex).read_bytes())
    config = json.loads((blobs / Digest(manifest["config"]["digest"]).hex).read_bytes())
    change(config, blobs)

    def write(value: object, into: dict[str, object]) -> None:
        data = json.dumps(value).encode()
        into |= {"digest": Digest.of(data), "size": len(data)}
        (blobs / Digest.of(data).hex).write_bytes(data)

    write(config, manifest["config"])
    write(manifest, entry)
    (folder / "index.json").write_text(json.dumps(index))


def other_layer(config: dict[str, object], blobs: Path) -> None:
    """The first step's record names the second's layer."""
    config["records"][0]["layer"] = config["records"][1]["layer"]  # type: ignore[index]


def other_bytes(config: dict[str, object], blobs: Path) -> None:
    """Every blob has a byte flipped, the configuration's and manifest's being written anew."""
    for path in blobs.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def gone(config: dict[str, object], blobs: Path) -> None:
    """Only the documents are left."""
    for path in blobs.iterdir():
        path.unlink()


@pytest.mark.parametrize("change", [other_layer, other_bytes, gone])
def test_what_is_not_as_it_says_is_made_instead(
    make: Make,
    base: str,
    tmp_path: Path,
    change: Callable[[dict[str, object], Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a warning; the result is right, and nothing of the other stays in the cache."""
    text = f"FROM {base}\nRUN echo one > /one\nRUN echo two > /two\n"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    built = make().build(text, cache_to=[f"type=local,dest={tmp_path}/cache"])
    poisoned(tmp_path / "cache", change)
    events: list[Event] = []
    second = make()
    again = second.build(text, cache_from=[f"type=local,src={tmp_path}/cache"], on_event=events.append)
    assert again.image.id == built.image.id
    assert cached(events)[1] is False
    assert "is of no use for this step" in warnings(events)[0]
    assert second.build(text).image.id == built.image.id


@pytest.mark.parametrize("change", [other_bytes, gone])
def test_a_spared_stage_is_made_where_the_cache_is_of_no_use(
    make: Make, base: str, tmp_path: Path, change: Callable[[dict[str, object], Path], None]
) -> None:
    """Only then, and once, though two steps take from it at the same time."""
    text = f"""FROM {base} AS tool
RUN echo made
RUN echo tool > /tool
FROM {base} AS one
RUN --mount=from=tool,target=/t read word < /t/tool; echo $word > /one
FROM {base} AS two
COPY --from=tool /tool /two
FROM {base}
COPY --from=one /one /one
COPY --from=two /two /two
RUN read word < /one; echo $word; read word < /two; echo $word
"""
    place = f"{tmp_path}/cache"
    make().build(text, cache_to=[f"type=local,dest={place}"])
    make().build(text, cache_to=[f"type=local,dest={place}/max,mode=max"])
    for folder in (place, f"{place}/max"):
        poisoned(Path(folder), change)
        events: list[Event] = []
        made = make().build(text, cache_from=[f"type=local,src={folder}"], on_event=events.append)
        printed = b"".join(event.data for event in events if isinstance(event, Output))
        assert printed == b"made\ntool\ntool\n"
        assert "is of no use for this step" in warnings(events)[0]
        assert len(made.steps) == 11


STAGES = """FROM {base} AS a
RUN echo a > /a; echo made a
FROM {base} AS b
COPY --from=a /a /b
RUN echo b > /c; echo made b
FROM a AS c
RUN --mount=from=b,target=/m read one < /m/b; read two < /m/c; echo $one$two > /d; echo made c
FROM {base}
COPY --from=c /d /d
COPY --from=b /c /
RUN --mount=from=a,target=/m read word < /m/a; echo $word > /e; echo made d
"""


@pytest.mark.parametrize("mode", ["min", "max"])
def test_whatever_is_gone_of_a_cache_is_made_and_nothing_twice(
    make: Make, base: str, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages that stand on each other, of which each layer is missing once, and each two: the image is the same."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    text, folder = STAGES.format(base=base), tmp_path / "cache"
    engine = make()
    built = engine.build(text, cache_to=[f"type=local,dest={folder},mode={mode}"])
    blobs, kept = folder / "blobs/sha256", tmp_path / "kept"
    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    manifest = json.loads((blobs / Digest(entry["digest"]).hex).read_bytes())
    layers = [Digest(layer["digest"]).hex for layer in manifest["layers"]]
    kept.mkdir()
    for missing in [*combinations(layers, 1), *combinations(layers, 2), tuple(layers)]:
        for layer in missing:
            (blobs / layer).rename(kept / layer)
        engine.prune(["images", "cache"])
        events: list[Event] = []
        again = engine.build(text, cache_from=[f"type=local,src={folder}"], on_event=events.append)
        assert again.image.id == built.image.id
        printed = b"".join(event.data for event in events if isinstance(event, Output)).splitlines()
        assert len(printed) == len(set(printed)), missing
        assert len(again.steps) == 10
        for layer in missing:
            (kept / layer).rename(blobs / layer)


def test_a_context_is_read_once_though_both_keys_are_asked_for(
    make: Make, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key by what is written, and that by what is there; until something is executed, for then a file may have changed."""
    (context := tmp_path / "context").mkdir()
    (context / "a").write_text("a")
    text = f"FROM {base} AS one\nCOPY . /x\nFROM {base}\nCOPY --from=one /x /y\nCOPY . /z\n"
    engine = make()
    engine.build(text, context=context, cache_to=[f"type=local,dest={tmp_path}/cache,mode=max"])
    engine.build(text, context=context, cache_from=[f"type=local,src={tmp_path}/cache"])
    asked: list[str] = []
    select = Context.select

    def noted(self: Context, source: str, exclude: Sequence[str] = ()) -> tuple[Selected, ...]:
        asked.append(source)
        return select(self, source, exclude)

    monkeypatch.setattr(Context, "select", noted)
    assert all(step.cached for step in engine.build(text, context=context).steps)
    assert asked == [""]
    engine.build(text.replace("COPY . /z", "RUN : > /w\nCOPY . /z"), context=context)
    assert asked == ["", "", ""], "once for the keys, once more behind what was executed"


def test_a_cache_that_is_not_there_is_a_warning(make: Make, base: str, registry: Registry, tmp_path: Path) -> None:
    """So that the first build of all may name the cache that it will write; what is none is told, too."""
    events: list[Event] = []
    places = [f"type=local,src={tmp_path}/none", f"{registry.host}/none", base, f"type=registry,ref={registry.host}/x"]
    make().build(f"FROM {base}\nRUN :\n", cache_from=places, on_event=events.append)
    assert cached(events) == [True, False]
    told = warnings(events)
    assert len(told) == 4
    assert "no OCI layout" in told[0]
    assert "carries no cache" in told[2]


def test_a_cache_that_cannot_be_written_is_an_error(make: Make, base: str, tmp_path: Path) -> None:
    """Unless that is to be ignored."""
    (tmp_path / "file").write_text("")
    engine, events = make(), list[Event]()
    text, place = f"FROM {base}\nRUN :\n", f"type=local,dest={tmp_path}/file/cache"
    with pytest.raises(NBContainersError, match="cannot write the layout"):
        engine.build(text, cache_to=[place])
    engine.build(text, cache_to=[f"{place},ignore-error=true"], on_event=events.append)
    assert "was not written" in warnings(events)[0]


def test_a_cache_is_a_manifest_that_any_registry_takes(make: Make, base: str, registry: Registry) -> None:
    """An OCI image manifest, whose configuration says what it is."""
    make().build(f"FROM {base}\nRUN :\n", cache_to=[f"type=registry,ref={registry.host}/seen:1,mode=max"])
    state, data = answered(registry.host, "/v2/seen/manifests/1")
    assert state == 200
    assert json.loads(data)["config"]["mediaType"] == "application/vnd.nbcontainers.buildcache.v1+json"


@pytest.mark.parametrize(
    ("word", "to", "said"),
    [
        ("type=gha", True, "not a type of --cache-to"),
        ("type=inline", False, "not a type of --cache-from"),
        ("type=local", True, "lacks dest="),
        ("type=local,dest=x", False, "has no option 'dest'"),
        ("type=registry", False, "lacks ref="),
        ("type=registry,ref=x,mode=most", True, "has mode=most"),
        ("type=registry,ref=x,oci-mediatypes=false", True, "has oci-mediatypes=false"),
        ("type=registry,ref=X", True, "X"),
        ("type=inline,mode=max", True, "has no option 'mode'"),
        (f"type=registry,ref=x@sha256:{'0' * 64}", True, "to a digest"),
    ],
)
def test_words_that_mean_nothing_are_refused(word: str, to: bool, said: str) -> None:
    """Before anything is built."""
    with pytest.raises(NBContainersError, match=said):
        caching.read(word, to=to)


def test_the_command_line_takes_them(make: Make, base: str, tmp_path: Path) -> None:
    """As docker's own."""
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo hello\n")
    words = ["build", "--progress", "plain", "-f", str(tmp_path / "Dockerfile"), str(tmp_path)]
    assert run(make(), *words, "--cache-to", f"type=local,dest={tmp_path}/cache")[0] == 0
    code, _, errors = run(make(), *words, "--cache-from", f"type=local,src={tmp_path}/cache")
    assert code == 0
    assert errors.count("cached") == 2
    assert "hello\n" not in errors.replace("RUN echo hello\n", "")
