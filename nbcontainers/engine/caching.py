"""What ``--cache-from`` and ``--cache-to`` mean: the build cache comes from folders and registries, and goes there."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from ..errors import InvalidReference, NBContainersError, NotFound
from ..events import Event, Observer, Progress, Transfer, Warned
from ..oci.reference import Reference

if TYPE_CHECKING:
    from ..build.sharing import Place, Shared, Sharing
    from ..oci.descriptor import Descriptor, Digest
    from ..oci.image import Manifest
    from ..store.layouts import Layout
    from ..store.registry.repository import Repository
    from ..store.store import Store

Kind = Literal["local", "registry", "inline"]
_FROM: dict[str, tuple[str, ...]] = {"local": ("src", "tag", "digest"), "registry": ("ref", "registry.insecure")}
_TO: dict[str, tuple[str, ...]] = {
    "local": ("dest", "tag", "mode", "ignore-error", "oci-mediatypes", "image-manifest"),
    "registry": ("ref", "mode", "ignore-error", "registry.insecure", "oci-mediatypes", "image-manifest"),
    "inline": (),
}
_NEEDED = {"src": "FOLDER", "dest": "FOLDER", "ref": "REGISTRY/NAME:TAG"}
_SWITCHES = ("ignore-error", "registry.insecure", "oci-mediatypes", "image-manifest")
_ALWAYS = ("oci-mediatypes", "image-manifest")  # so it is in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One place that a build's cache comes from or goes to; ``options`` are its words."""

    kind: Kind
    options: Mapping[str, str] = field(default_factory=dict)

    def has(self, switch: str) -> bool:
        """Whether a switch is on."""
        return self.options.get(switch) == "true"

    @property
    def name(self) -> str:
        """The place in a few words."""
        return self.options.get("ref") or self.options.get("src") or self.options.get("dest") or "in the image"


def read(word: str, *, to: bool) -> Cache:
    """The place that ``type=TYPE,KEY=VALUE…``, or the name of an image alone, means.

    Raises:
        NBContainersError: there is no such type or option, or one that the type needs is missing.

    """
    flag, known = ("--cache-to", _TO) if to else ("--cache-from", _FROM)
    (row,) = csv.reader([word]) if word else ([],)
    given = {key.strip().lower(): value for key, _, value in (part.partition("=") for part in row)}
    if len(row) == 1 and "=" not in word:
        given = {"type": "registry", "ref": word}
    kind = given.pop("type", "")
    if kind not in known:
        hint = f"known are {', '.join(known)}"
        if kind in ("gha", "s3", "azblob", *get_args(Kind)):
            hint = f"here it is one of {', '.join(known)}"
        raise NBContainersError(f"not a type of {flag}: {kind!r} in {word!r}", hint=hint)
    for name, value in given.items():
        if name not in known[kind]:
            hint = f"it takes {', '.join(known[kind]) or 'no options'}"
            raise NBContainersError(f"the cache {kind} has no option {name!r} in {flag}", hint=hint)
        if name in _SWITCHES and value not in (("true",) if name in _ALWAYS else ("true", "false")):
            hint = "a cache is always an OCI image manifest" if name in _ALWAYS else "it is true or false"
            raise NBContainersError(f"the cache {kind} has {name}={value}", hint=hint)
    if given.get("mode", "min") not in ("min", "max"):
        raise NBContainersError(f"the cache {kind} has mode={given['mode']}", hint="it is min or max")
    for name in known[kind]:
        if name in _NEEDED and not given.get(name):
            example = f"type={kind},{name}={_NEEDED[name]}"
            raise NBContainersError(f"the cache {kind} lacks {name}=: {word!r}", hint=f"it reads {example}")
    if "ref" in given:
        reference = Reference.parse(given["ref"])
        if to and reference.digest:
            raise InvalidReference(f"a cache cannot be written to a digest: {given['ref']!r}", hint="name a tag")
    return Cache(kind=cast("Kind", kind), options=given)


def read_all(words: Sequence[str], *, to: bool) -> tuple[Cache, ...]:
    """Every place."""
    return tuple(read(word, to=to) for word in words if word)


@contextlib.contextmanager
def opened(store: Store, caches: Sequence[Cache], on_event: Observer) -> Iterator[tuple[Place, ...]]:
    """The caches with their records; their layers come when a step needs them. One that cannot be used is told and left out."""
    places: list[Place] = []
    with contextlib.ExitStack() as stack:
        for cache in caches:
            try:
                places.append(
                    _folder(store, cache) if cache.kind == "local" else _registry(store, cache, stack, on_event)
                )
            except NBContainersError as error:
                message = f"the cache {cache.name} cannot be used: {error.message}"
                on_event(Warned(message=message, hint=error.hint))
        yield tuple(places)


def export(store: Store, caches: Sequence[Cache], sharing: Sharing, on_event: Observer) -> None:
    """Bring what a build found and made to every place: with ``mode=max`` all steps, else those whose layers the image has."""
    from ..build.sharing import CONFIG_TYPE, to_config

    for cache in caches:
        if cache.kind == "inline":
            continue
        chosen = sorted(sharing.all) if cache.options.get("mode") == "max" else sharing.own
        data, layers = to_config([sharing.all[index] for index in chosen if index in sharing.all])
        try:
            _put(store, cache, (CONFIG_TYPE, data), layers, on_event)
        except NBContainersError as error:
            if not cache.has("ignore-error"):
                raise
            on_event(Warned(message=f"the cache {cache.name} was not written: {error.message}", hint=error.hint))


def _put(
    store: Store, cache: Cache, config: tuple[str, bytes], layers: Sequence[Descriptor], on_event: Observer
) -> None:
    from ..store.layouts import Layout

    if cache.kind == "local":
        folder = Path(cache.options["dest"]).expanduser()
        Layout(folder).put(store.content, cache.options.get("tag") or "latest", config, layers)
        return
    from ..store.registry import artifacts
    from . import registries

    reference = Reference.parse(cache.options["ref"])
    insecure = cache.has("registry.insecure")
    with registries.access(on_event).repository(reference, insecure=insecure) as repository:
        artifacts.put(store, repository, reference, config, layers, on_event=on_event)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A cache in an OCI layout."""

    name: str
    records: Mapping[Digest, Shared]
    store: Store
    layout: Layout

    def bring(self, layer: Descriptor, on_event: Observer) -> None:
        """See ``Place.bring``."""
        self.layout.bring(self.store.content, layer)


@dataclass(frozen=True, slots=True)
class _Registry:
    """A cache at a registry."""

    name: str
    records: Mapping[Digest, Shared]
    store: Store
    repository: Repository

    def bring(self, layer: Descriptor, on_event: Observer) -> None:
        """See ``Place.bring``."""
        from ..store import stopping
        from ..store.registry import download

        def tell(event: Event) -> None:
            if isinstance(event, Transfer) and event.phase == "downloading":
                on_event(Progress(what=f"fetching {layer.digest.short}", done=event.done, total=event.total))

        with stopping.ended_by(self.repository.registry.connections.cut):
            download.blob(self.repository, self.store.content, layer, tell)


@dataclass(frozen=True, slots=True)
class _Image:
    """The records that an image of this store carries: its layers are here."""

    name: str
    records: Mapping[Digest, Shared]

    def bring(self, layer: Descriptor, on_event: Observer) -> None:
        """See ``Place.bring``."""
        raise NotFound(f"the store has no blob {layer.digest}", hint="load or pull the image again")


def _folder(store: Store, cache: Cache) -> Place:
    from ..store.layouts import Layout

    layout = Layout(Path(cache.options["src"]).expanduser())
    manifest = layout.manifest(cache.options.get("digest") or cache.options.get("tag") or "")
    return _Folder(cache.name, _records(manifest, layout.read), store, layout)


def _registry(store: Store, cache: Cache, stack: contextlib.ExitStack, on_event: Observer) -> Place:
    from ..build.sharing import from_image
    from ..store.registry import artifacts
    from . import registries

    reference = Reference.parse(cache.options["ref"])
    with contextlib.suppress(NotFound):
        if own := from_image(store.images.resolve(cache.options["ref"]).manifest):
            return _Image(cache.name, own)
    insecure = cache.has("registry.insecure")
    access = registries.access(on_event).repository(reference, insecure=insecure, mirrors=True)
    repository = stack.enter_context(access)
    manifest = artifacts.manifest(repository, reference)
    records = _records(manifest, lambda config, limit: artifacts.configuration(repository, config, limit))
    return _Registry(cache.name, records, store, repository)


def _records(manifest: Manifest, configuration: Callable[[Descriptor, int], bytes]) -> Mapping[Digest, Shared]:
    """The records of a cache, or those that an image carries."""
    from ..build.sharing import CONFIG_TYPE, LIMIT, from_config, from_image
    from ..oci.descriptor import CONFIG, DOCKER_CONFIG

    if manifest.config.media_type == CONFIG_TYPE:
        return from_config(manifest, configuration(manifest.config, LIMIT))
    if manifest.config.media_type not in (CONFIG, DOCKER_CONFIG):
        raise NotFound(
            f"it is of the type {manifest.config.media_type[:80]}", hint="caches of other builders have other keys"
        )
    if not (records := from_image(manifest)):
        raise NotFound("the image carries no cache", hint="build it with --cache-to type=inline")
    return records
