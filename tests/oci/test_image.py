from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.errors import IntegrityError
from nbcontainers.oci.descriptor import CONFIG, INDEX, LAYER_GZIP, MANIFEST, Descriptor, Digest, Platform
from nbcontainers.oci.image import (
    ContainerConfig,
    Healthcheck,
    History,
    Image,
    ImageConfig,
    Index,
    Manifest,
    chain_ids,
    parse,
    to_bytes,
)
from nbcontainers.oci.reference import Reference

text = st.text(max_size=12)
word = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
words = st.lists(text, max_size=3).map(tuple)
ports = st.lists(st.integers(1, 65535).map(lambda port: f"{port}/tcp"), max_size=3, unique=True).map(
    lambda found: tuple(sorted(found))
)
folders = st.lists(word.map(lambda name: f"/{name}"), max_size=3, unique=True).map(lambda found: tuple(sorted(found)))
labels = st.dictionaries(word, text, max_size=3)
digests = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda data: Digest(f"sha256:{data.hex()}")),
    st.binary(min_size=64, max_size=64).map(lambda data: Digest(f"sha512:{data.hex()}")),
)
platforms = st.builds(Platform, os=word, architecture=word, variant=text)
descriptors = st.builds(
    Descriptor,
    media_type=st.sampled_from([MANIFEST, CONFIG, LAYER_GZIP]),
    digest=digests,
    size=st.integers(0, 1 << 62),
    annotations=labels,
    platform=st.none() | platforms,
)
nanoseconds = st.integers(0, 1 << 40)
healthchecks = st.builds(
    Healthcheck,
    test=st.lists(text, min_size=1, max_size=3).map(tuple),
    interval=nanoseconds,
    timeout=nanoseconds,
    start_period=nanoseconds,
    start_interval=nanoseconds,
    retries=st.integers(0, 9),
)
container_configs = st.builds(
    ContainerConfig,
    user=text,
    exposed_ports=ports,
    env=words,
    entrypoint=st.none() | words,
    cmd=st.none() | words,
    volumes=folders,
    working_dir=text,
    labels=labels,
    stop_signal=text,
    shell=st.none() | words,
    healthcheck=st.none() | healthchecks,
    on_build=words,
)
configs = st.builds(
    ImageConfig,
    platform=platforms,
    created=text,
    author=text,
    config=container_configs,
    diff_ids=st.lists(digests, max_size=3).map(tuple),
    history=st.lists(
        st.builds(History, created=text, created_by=text, comment=text, empty_layer=st.booleans()), max_size=3
    ).map(tuple),
)
manifests = st.builds(
    Manifest, config=descriptors, layers=st.lists(descriptors, max_size=3).map(tuple), annotations=labels
)
indexes = st.builds(Index, manifests=st.lists(descriptors, max_size=3).map(tuple), annotations=labels)


@given(configs | manifests | indexes)
def test_values_survive_their_bytes(value: ImageConfig | Manifest | Index) -> None:
    """What is written as JSON is read as the same value, and the same value gives the same bytes."""
    data = to_bytes(value)
    again = type(value).from_json(parse(data, "it"))
    assert again == value
    assert to_bytes(again) == data


@given(descriptors)
def test_descriptors_survive_json(descriptor: Descriptor) -> None:
    """A descriptor is read from the JSON that it is written as."""
    assert Descriptor.from_json(json.loads(json.dumps(descriptor.to_json()))) == descriptor


KEYS = [
    "config",
    "layers",
    "manifests",
    "mediaType",
    "digest",
    "size",
    "os",
    "architecture",
    "rootfs",
    "platform",
    "diff_ids",
    "history",
    "annotations",
    "created",
    "Env",
    "Labels",
    "ExposedPorts",
    "Healthcheck",
    "Cmd",
    "Volumes",
    "Test",
    "Interval",
    "User",
]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | text | digests.map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
LEAST: dict[str, Any] = {"os": "linux", "architecture": "amd64", "rootfs": {}, "layers": []}


@pytest.mark.parametrize("kind", [ImageConfig, Manifest, Index])
@given(document=JSON)
def test_any_document_is_a_value_or_an_integrity_error(kind: Any, document: Any) -> None:
    """A document of a hostile registry or archive is read, or refused with IntegrityError, and nothing else."""
    for value in (document, LEAST | {"config": document}, LEAST | {"annotations": document, "history": document}):
        if isinstance(value, dict):
            with contextlib.suppress(IntegrityError):
                to_bytes(kind.from_json(value))


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Index, {"manifests": [], "annotations": "ab"}),
        (Index, {"manifests": [5]}),
        (Index, {"manifests": [{"mediaType": "x", "digest": str(Digest.of(b"")), "size": 1, "platform": "linux"}]}),
        (Index, {"manifests": [{"mediaType": 1, "digest": str(Digest.of(b"")), "size": 1}]}),
        (Manifest, {"config": "x", "layers": []}),
        (ImageConfig, LEAST | {"created": 5}),
        (ImageConfig, LEAST | {"config": {"Env": [1]}}),
        (ImageConfig, LEAST | {"config": {"Env": "PATH=/bin"}}),
        (ImageConfig, LEAST | {"config": {"Labels": {"a": 1}}}),
        (ImageConfig, LEAST | {"config": {"Healthcheck": {"Interval": "1s"}}}),
        (ImageConfig, LEAST | {"rootfs": {"diff_ids": "sha256:"}}),
        (ImageConfig, LEAST | {"history": [1]}),
        (ImageConfig, {"rootfs": {}}),
    ],
)
def test_a_key_of_a_wrong_type_is_refused(kind: Any, document: dict[str, Any]) -> None:
    """Whoever uses a value can rely on its types: a document that has others is refused where it is read."""
    with pytest.raises(IntegrityError) as caught:
        kind.from_json(document)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha512:" + "0" * 64, "md5:" + "0" * 32, "x"]
)
def test_a_digest_is_valid_from_the_start(text: str) -> None:
    """No Digest exists that is not one."""
    with pytest.raises(IntegrityError):
        Digest(text)


def test_digests_and_chain_ids_are_those_of_the_specification() -> None:
    """The chain ID of one layer is its diff ID; each further one is the digest of the chain so far, a space and the diff ID."""
    a, b, c = (Digest.of(letter) for letter in (b"a", b"b", b"c"))
    assert a == f"sha256:{hashlib.sha256(b'a').hexdigest()}"
    assert (a.algorithm, a.short) == ("sha256", a.hex[:12])
    two = "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    three = "sha256:" + hashlib.sha256(f"{two} {c}".encode()).hexdigest()
    assert chain_ids((a, b, c)) == (a, two, three)
    assert chain_ids(()) == ()


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Manifest, {"config": {}, "layers": [], "manifests": []}),
        (Index, {"manifests": [], "layers": []}),
        (Index, {"manifests": [], "config": {}}),
    ],
)
def test_a_document_that_is_two_things_is_refused(kind: Any, document: dict[str, Any]) -> None:
    """CVE-2021-41190: a manifest that is an index as well means one image to one reader and another to the next."""
    with pytest.raises(IntegrityError, match="as well"):
        kind.from_json(document)


@pytest.mark.parametrize("size", [-1, True, 1.5, "1", None])
def test_a_size_is_a_whole_number(size: Any) -> None:
    """A descriptor with any other size is refused."""
    with pytest.raises(IntegrityError):
        Descriptor.from_json({"mediaType": MANIFEST, "digest": str(Digest.of(b"")), "size": size})


def test_dockers_words_for_nothing_are_understood() -> None:
    """Docker writes null where the specification leaves a key out; an empty list of words is not the same as none."""
    config = ContainerConfig.from_json(
        {
            "Env": None,
            "Cmd": None,
            "Entrypoint": [],
            "ExposedPorts": None,
            "Volumes": None,
            "Labels": None,
            "User": None,
        }
    )
    assert config == ContainerConfig(entrypoint=())
    assert config.to_json() == {"Entrypoint": []}


def test_half_a_character_is_read_as_go_reads_it() -> None:
    """A lone surrogate, escaped or not, is U+FFFD; a pair is its character, and text that has none is as it was."""
    assert parse(rb'{"a": "\ud800x", "b": "\ud83d\ude00", "\uDFFF": ["\udc00"]}', "it") == {
        "a": "\ufffdx",
        "b": "\U0001f600",
        "\ufffd": ["\ufffd"],
    }
    assert parse(b'{"a": "\xed\xa0\x80", "b": "\xed\x95\x9c"}', "it") == {"a": "\ufffd", "b": "\ud55c"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_said(data: bytes) -> None:
    """Parsing names what the bytes should have been."""
    with pytest.raises(IntegrityError, match="the thing"):
        parse(data, "the thing")


def test_an_image_answers_what_people_ask() -> None:
    """Its ID is the configuration's digest, its size that of the layers as they are stored, its name the familiar one."""
    layer = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(b"layer"), size=7)
    config = ImageConfig(platform=Platform(architecture="amd64"), diff_ids=(Digest.of(b"a"), Digest.of(b"b")))
    described = Descriptor(media_type=CONFIG, digest=Digest.of(to_bytes(config)), size=len(to_bytes(config)))
    manifest = Manifest(config=described, layers=(layer, layer))
    image = Image(
        reference=Reference.parse("app"),
        descriptor=Descriptor(media_type=MANIFEST, digest=Digest.of(to_bytes(manifest)), size=len(to_bytes(manifest))),
        manifest=manifest,
        config=config,
    )
    assert (image.id, image.size, image.name) == (described.digest, 14, "app:latest")
    assert image.chain_ids == chain_ids(config.diff_ids)
    assert str(config.platform) == "linux/amd64"
    assert Platform.host().os == "linux"
    assert INDEX in Index(manifests=()).to_json().values()
