"""In what two images differ: files, settings and packages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress
from operator import ne
from typing import TYPE_CHECKING

from ..oci.image import Image, ImageConfig
from ..results import FileChange, ImageDiff, PackageChange, SettingChange
from ..store.entries import RECORD, Index
from .packages import Side, package_changes
from .stack import indexes
from .tree import FILE, HARDLINK, Tree

if TYPE_CHECKING:
    from ..store.store import Store


def image_diff(store: Store, before: Image, after: Image) -> ImageDiff:
    """Everything in which an image differs from another; layers that are not unpacked are unpacked first.

    What the images share from the base up is read once, and not compared.

    Raises:
        NotFound: a layer's blob is not in the store.
        IntegrityError: a layer is not what its digests say.

    """
    shared = shared_layers(before, after)
    files: tuple[FileChange, ...] = ()
    packages: tuple[PackageChange, ...] = ()
    unread: list[str] = []
    if not shared == len(before.layers) == len(after.layers):
        lower = indexes(store, before)
        upper = (*lower[:shared], *indexes(store, after, above=shared))
        old, new, paths = trees(lower[:shared], lower[shared:], upper[shared:])
        files = changes(old, new, paths)
        sides = Side(store, before, lower, old, {}, unread), Side(store, after, upper, new, {}, unread)
        packages = package_changes(*sides, paths)
    return ImageDiff(
        before=before.name,
        after=after.name,
        files=files,
        settings=setting_changes(before.config, after.config),
        shared_layers=shared,
        packages=packages,
        unread=tuple(unread),
    )


def shared_layers(before: Image, after: Image) -> int:
    """How many layers, from the base up, are the same."""
    pairs = zip(before.config.diff_ids, after.config.diff_ids, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(before.layers), len(after.layers)))


def file_changes(base: Iterable[Index], before: Sequence[Index], after: Sequence[Index]) -> tuple[FileChange, ...]:
    """The files that differ between two trees on a common base, each given as layers from the bottom up; sorted by path."""
    old, new, paths = trees(base, before, after)
    return changes(old, new, paths)


def trees(base: Iterable[Index], before: Sequence[Index], after: Sequence[Index]) -> tuple[Tree, Tree, set[str]]:
    """Two trees on a common base, each given as layers from the bottom up, and the paths that differ."""
    old = Tree()
    for layer in base:
        old.apply(layer)
    new = old.copy()
    builds = _builds(before, after)
    # What the layers above a base touch is little, as is what differs in two builds of a layer, and all that has to be compared;
    # without either it is everything.
    touched: set[str] | None = set() if old.records or builds else None
    for layer in before:
        old.apply(layer, touched, builds.get(id(layer)))
    for layer in after:
        new.apply(layer, touched, builds.get(id(layer)))
    was, now = old.records.get, new.records.get
    if touched is not None:
        return old, new, {path for path in touched if was(path) != now(path)}
    differ = set(compress(new.records, map(ne, new.records.values(), map(was, new.records))))
    added = sum(path not in old.records for path in differ)
    if len(old.records) + added > len(new.records):
        differ |= old.records.keys() - new.records.keys()
    return old, new, differ


def _builds(before: Sequence[Index], after: Sequence[Index]) -> dict[int, Collection[str]]:
    """The paths in which layers that are two builds of one differ, for both; in the same order here and there, by identity."""
    found: dict[int, Collection[str]] = {}
    above = 0
    for layer in after:
        for number in range(above, len(before)):
            rows = layer.liken(before[number])
            if rows is not None:
                found[id(layer)] = found[id(before[number])] = rows.keys()
                above = number + 1
                break
    return found


def changes(old: Tree, new: Tree, paths: Iterable[str]) -> tuple[FileChange, ...]:
    """What became of some paths, sorted."""
    return tuple(_change(path, old, new) for path in sorted(paths))


def _change(path: str, old: Tree, new: Tree) -> FileChange:
    before, after = old.entry(path), new.entry(path)
    if before is None or after is None:
        return FileChange(kind="added" if before is None else "deleted", path=path, before=before, after=after)
    what = fields_that_differ(old.records[path], new.records[path])
    return FileChange(kind="modified", path=path, before=before, after=after, what=what)


def fields_that_differ(before: bytes, after: bytes) -> tuple[str, ...]:
    """Which of kind, content, link (its target), mode and owner two records differ in."""
    kind, mode, uid, gid, size, digest = RECORD.unpack(before)
    other_kind, other_mode, other_uid, other_gid, other_size, other_digest = RECORD.unpack(after)
    content = "content" if FILE in (kind, other_kind) or kind == HARDLINK else "link"
    pairs = {
        "kind": kind != other_kind,
        content: (size, digest) != (other_size, other_digest),
        "mode": mode != other_mode,
        "owner": (uid, gid) != (other_uid, other_gid),
    }
    return tuple(name for name, differs in pairs.items() if differs)


def setting_changes(before: ImageConfig, after: ImageConfig) -> tuple[SettingChange, ...]:
    """The settings that differ, sorted by key; words of a command as JSON, as a Dockerfile has them."""
    old, new = settings(before), settings(after)
    return tuple(
        SettingChange(key=key, before=old.get(key), after=new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


def settings(image: ImageConfig) -> dict[str, str]:
    """The settings of an image that are set: ``Env.NAME``, ``Labels.NAME``, ``Cmd``, ``ExposedPorts`` and so on."""
    config = image.config
    found = {"Platform": str(image.platform), "Author": image.author}
    found |= {"User": config.user, "WorkingDir": config.working_dir, "StopSignal": config.stop_signal}
    found |= {"ExposedPorts": " ".join(sorted(config.exposed_ports)), "Volumes": " ".join(sorted(config.volumes))}
    found |= {"OnBuild": "\n".join(config.on_build)}
    found |= {"Healthcheck": json.dumps(config.healthcheck.to_json()) if config.healthcheck else ""}
    found = {key: value for key, value in found.items() if value}
    words: Mapping[str, Sequence[str] | None] = {
        "Cmd": config.cmd,
        "Entrypoint": config.entrypoint,
        "Shell": config.shell,
    }
    found |= {key: json.dumps(list(value), ensure_ascii=False) for key, value in words.items() if value is not None}
    found |= {f"Env.{name}": value for name, _, value in (variable.partition("=") for variable in config.env)}
    found |= {f"Labels.{name}": value for name, value in config.labels.items()}
    return found
