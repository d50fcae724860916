"""Registries, as the engine's methods reach them: names and words in, images and results out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

from ..errors import NBContainersError, NotFound, RegistryError
from ..events import Observer, Warned, ignore
from ..oci import platforms
from ..oci.descriptor import Descriptor, Digest, Platform
from ..oci.image import Image
from ..oci.reference import Reference
from ..store import recompress, variants
from ..store.compression import Compression
from ..store.registry import pull as pulling
from ..store.registry import push as pushing
from ..store.registry.access import Access, registry_name
from ..store.registry.origins import Origins
from ..store.store import Store

PullPolicy = Literal["missing", "always", "never"]


def access(on_event: Observer) -> Access:
    """What this user's environment says of registries; what of it cannot be used is told."""
    return Access(environ=os.environ, warn=lambda message, hint: on_event(Warned(message=message, hint=hint)))


def pull(store: Store, name: str, *, platform: str | None, insecure: bool, on_event: Observer) -> Image:
    """One image by its tag or digest."""
    return _pull(store, _wanted(name), _platform(platform), insecure=insecure, on_event=on_event)


def pull_all(store: Store, name: str, *, platform: str | None, insecure: bool, on_event: Observer) -> tuple[Image, ...]:
    """Every tag of a repository that has an image for the platform."""
    reference = _repository(name)
    wanted = _platform(platform)
    with access(on_event).repository(reference, insecure=insecure) as repository:
        tags = repository.tags()
    if not tags:
        raise NotFound(f"the repository {reference.familiar_name} has no tags", hint="see that its name is right")
    images = []
    for tag in tags:
        named = replace(reference, tag=tag)
        try:
            images.append(_pull(store, named, wanted, insecure=insecure, on_event=on_event))
        except NotFound as error:
            on_event(Warned(message=f"{named.familiar}: {error.message}", hint=error.hint))
    return tuple(images)


def _pull(
    store: Store, reference: Reference, platform: Platform | None, *, insecure: bool, on_event: Observer
) -> Image:
    with access(on_event).repository(reference, insecure=insecure, mirrors=True) as repository:
        return pulling.pull(store, repository, reference, platform=platform, on_event=on_event)


def push(
    store: Store,
    names: tuple[Reference, ...],
    *,
    platform: str | None = None,
    compression: Compression | None = None,
    insecure: bool,
    on_event: Observer,
) -> tuple[Digest, ...]:
    """Images by their tags, to one repository: the digest of each there."""
    before = frozenset(store.content) if compression is not None else frozenset[Digest]()
    made: set[Digest] = set()
    sent: list[Descriptor] = []
    wanted = _platform(platform)
    try:
        with access(on_event).repository(names[0], insecure=insecure) as repository, store.lease():
            for reference in names:
                image = store.images.open(store.images.tags.read(reference).descriptor, reference)
                if wanted is not None:
                    image = variants.choose(store, image, wanted)
                elif compression is not None and variants.top(store, image) != image.descriptor:
                    raise NBContainersError(
                        f"{reference.familiar} stands for several platforms, and one image can be compressed anew",
                        hint="choose one: --platform OS/ARCH",
                    )
                if compression is not None:
                    image = recompress.image(store, image, compression)
                    made |= recompress.parts(image)
                alone = wanted is not None or compression is not None
                sent.append(pushing.push(store, repository, reference, image, alone=alone, on_event=on_event))
    finally:
        if made - before:  # for the registry alone
            store.images.collect(only=made - before)
    return tuple(descriptor.digest for descriptor in sent)


def pushed(store: Store, name: str) -> Reference:
    """The tag that a word to ``push`` means: NotFound if there is no such tag here."""
    reference = Reference.parse(name)
    if reference.digest:
        raise NBContainersError(f"cannot push {name!r} by its digest", hint="give it a tag, and push that")
    try:
        store.images.resolve(name)  # names what is spelled like it, where there is none
    except NotFound as error:
        last, known = reference.repository.rpartition("/")[2], {tag.reference.familiar for tag in store.images.tags}
        for own in (f"{last}:{reference.tag}", f"{last}:latest"):
            if own in known:
                hint = f"name it so first: 'nbcontainers tag {own.removesuffix(':latest')} {name}'"
                raise NotFound(error.message, hint=hint) from None
        raise
    store.images.tags.read(reference)
    return reference


def all_tags(store: Store, name: str) -> tuple[Reference, ...]:
    """All tags of a repository that the store has."""
    wanted = _repository(name)
    found = tuple(tag.reference for tag in store.images.tags if tag.reference.name == wanted.name and tag.reference.tag)
    if not found:
        raise NotFound(f"no such image: {wanted.familiar_name}", hint="'nbcontainers images' shows those that are here")
    return found


def referrers(
    name: str, *, artifact_type: str = "", insecure: bool = False, on_event: Observer = ignore
) -> tuple[Descriptor, ...]:
    """The manifests in a registry that belong to an image there."""
    reference = _wanted(name)
    with access(on_event).repository(reference, insecure=insecure) as repository:
        digest = reference.digest or repository.manifest(reference.tag).descriptor.digest
        return repository.referrers(Digest(digest), artifact_type)


def fetch(store: Store, digest: Digest, *, on_event: Observer) -> bool:
    """Bring a blob again from where it came from or went to; False if no registry has it any more."""
    for host, repository in Origins(store.root).registries(digest):
        reference = Reference(host, repository, digest=str(digest))
        with (
            contextlib.suppress(RegistryError),
            access(on_event).repository(reference, mirrors=True) as source,
        ):
            if pulling.restore(store, source, digest):
                return True
    return False


def login(registry: str, username: str, password: str, *, insecure: bool, on_event: Observer) -> str:
    """Where the credential is kept that the registry accepts."""
    if not username or not password:
        raise NBContainersError("a user name and a password are needed", hint="give both")
    return access(on_event).login(registry, username, password, insecure=insecure)


def logged_in(registry: str, *, insecure: bool, on_event: Observer) -> str:
    """The user name that is kept for a registry, once that has taken it; empty if none is."""
    return access(on_event).logged_in(registry, insecure=insecure)


def logout(registry: str, on_event: Observer) -> str:
    """The registry whose credential is forgotten: NotFound if none is kept."""
    name = registry_name(registry)
    if not access(on_event).logout(name):
        raise NotFound(
            f"not logged in to {name}", hint="'nbcontainers login' keeps credentials in Docker's config.json"
        )
    return name


def source(
    resolve: Callable[[str], Image], store: Store, name: str, *, policy: str, platform: str | None, on_event: Observer
) -> Image:
    """The image for a container or a build: from the store, or by docker's ``--pull`` from its registry.

    Raises:
        NotFound: it is not here, and cannot be pulled or is not to be.

    """
    if policy not in get_args(PullPolicy):
        raise NBContainersError(f"unknown word {policy!r} for pull", hint="wanted missing, always or never")
    wanted = _platform(platform)
    absent: NotFound | None = None
    if policy != "always" or not _is_remote(name):
        try:
            image = resolve(name)
        except NotFound as error:
            if policy == "never" or not _is_remote(name):
                raise
            absent = error
        else:
            if wanted is None or platforms.normal(image.config.platform) in platforms.usable(wanted):
                return image
            absent = NotFound(f"{name} is here for {image.config.platform}, and {wanted} was asked for")
            if policy == "never" or not _is_remote(name):
                raise absent
    try:
        return pull(store, name, platform=platform, insecure=False, on_event=on_event)
    except RegistryError as error:
        missing = absent.message if absent else f"no newer image: {name}"
        near = f"{absent.hint} Else " if absent and absent.hint.startswith("did you mean") else ""
        raise NotFound(f"{missing}, and it cannot be pulled: {error.message}", hint=near + error.hint) from error


def _is_remote(name: str) -> bool:
    """True if a registry can have it: an image ID is a name here only, and the toolbox is made here."""
    try:
        reference = Reference.parse(name)
    except NBContainersError:
        return False
    return reference.name != "docker.io/library/toolbox"


def _wanted(name: str) -> Reference:
    """The reference to ask a registry for: of a tag and a digest the digest, as Docker has it."""
    reference = Reference.parse(name)
    return replace(reference, tag="") if reference.digest else reference


def _repository(name: str) -> Reference:
    reference = Reference.parse(name)
    if reference.digest or (reference.tag != "latest" or name.endswith(":latest")):
        raise NBContainersError(f"a tag cannot be used with all tags: {name!r}", hint="name the repository alone")
    return reference


def _platform(text: str | None) -> Platform | None:
    return platforms.parse(text) if text else None
