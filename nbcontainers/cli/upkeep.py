"""The verbs that keep the store small and whole: prune, df and check."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from ..engine import Engine
from ..engine.options import size
from ..errors import NBContainersError
from ..events import Warned
from ..oci.image import Image
from ..results import ContainerState, DiskUse, Fault, Pruned, StoreCheck
from . import format as form
from . import text
from .console import Console
from .containers import ps_row
from .flags import FORMAT, Act, Command, Flag, filters
from .images import image_row
from .steps import BuildProgress

DF_COLUMNS = (
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
)
IMAGE_COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
)
CONTAINER_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
)
ALL_KINDS = ("containers", "images", "cache", "networks")
_WHAT = {
    "containers": "all containers that do not run",
    "images": "all images without a name",
    "cache": "steps of builds whose layers no image has",
    "networks": "all networks that no running container is on",
    "volumes": "all anonymous volumes that no container has",
}
_WHAT_ALL = {
    "containers": "all containers that do not run",
    "images": "all images that no container was made from",
    "cache": "the whole build cache",
    "networks": "all networks that no running container is on",
    "volumes": "all anonymous volumes that no container has",
}


def pruning(*kinds: str) -> Act:
    """What removes the unused of some kinds."""

    def act(engine: Engine, values: Namespace, console: Console) -> int:
        everything = getattr(values, "all", False)
        keep = getattr(values, "keep_storage", None)
        if keep is not None and (everything or values.filter or getattr(values, "volumes", False)):
            raise NBContainersError(
                "--keep-storage chooses by age alone", hint="leave out --all, --filter and --volumes"
            )
        chosen = (*kinds, "volumes") if getattr(values, "volumes", False) else kinds
        if not values.force:
            words = _WHAT_ALL if everything else _WHAT
            ask([words[kind] for kind in chosen], console)
        if keep is not None:
            pruned = engine.keep_within(keep, on_event=_warnings(console))
        else:
            pruned = engine.prune(chosen, all=everything, filters=values.filter)
        if text := told(pruned, sized=chosen != ("networks",)):
            console.print(text)
        return 0

    return act


def ask(what: list[str], console: Console) -> None:
    """Let a person say yes; where there is none, nothing is removed without ``--force``."""
    if not (sys.stdin.isatty() and console.err.isatty()):
        raise NBContainersError(
            "nobody is there to be asked whether to remove " + ", ".join(what), hint="say --force (-f) if it is meant"
        )
    console.note("This will remove:\n" + "".join(f"  - {line}\n" for line in what), style="yellow")
    console.err.write("Are you sure? [y/N] ")
    console.err.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NBContainersError("nothing was removed")


def _warnings(console: Console) -> Any:
    progress = BuildProgress(console)
    return lambda event: progress(event) if isinstance(event, Warned) else None


def told(pruned: Pruned, *, sized: bool) -> str:
    """What was removed, as ``docker system prune`` lists it; with the space, where it can have taken some."""
    parts = []
    if pruned.containers:
        parts.append("\n".join(["Deleted Containers:", *pruned.containers]))
    if pruned.networks:
        parts.append("\n".join(["Deleted Networks:", *pruned.networks]))
    if pruned.volumes:
        parts.append("\n".join(["Deleted Volumes:", *pruned.volumes]))
    if pruned.untagged or pruned.images:
        lines = [f"untagged: {name}" for name in pruned.untagged] + [f"deleted: {digest}" for digest in pruned.images]
        parts.append("\n".join(["Deleted Images:", *lines]))
    if pruned.cache:
        parts.append("\n".join(["Deleted build cache objects:", *(key[:25] for key in pruned.cache)]))
    if pruned.layers:
        parts.append("\n".join(["Deleted unpacked layers:", *map(str, pruned.layers)]))
    if sized:
        parts.append(f"Total reclaimed space: {form.size(pruned.size)}")
    return "\n\n".join(parts)


def system_df(engine: Engine, values: Namespace, console: Console) -> int:
    """What the store takes of the disk."""
    if values.verbose:
        if values.format:
            raise NBContainersError(
                "--verbose has tables of its own, and takes no format", hint="leave out one of both"
            )
        console.print(_verbose(engine))
        return 0
    console.print(form.rows([df_row(use) for use in engine.disk_use()], values.format, DF_COLUMNS))
    return 0


def df_row(use: DiskUse) -> dict[str, Any]:
    """One line of ``system df``, by Docker's field names."""
    share = f" ({use.reclaimable * 100 // use.size}%)" if use.size and use.kind != "Build Cache" else ""
    return {
        "Type": use.kind,
        "TotalCount": use.total,
        "Active": use.active,
        "Size": form.size(use.size),
        "Reclaimable": form.size(use.reclaimable) + share,
    }


def _verbose(engine: Engine) -> str:
    images, states = engine.images(), [container.state for container in engine.containers(all=True)]
    containers = [container_row(state, size) for state, size in engine.sizes()]
    cache = next(use for use in engine.disk_use() if use.kind == "Build Cache")
    return "\n\n".join(
        [
            "Images space usage:",
            form.rows(_image_rows(engine, images, states), None, IMAGE_COLUMNS),
            "Containers space usage:",
            form.rows(containers, None, CONTAINER_COLUMNS),
            f"Build cache usage: {form.size(cache.size)} in {text.plural(cache.total, 'step')}",
        ]
    )


def _image_rows(engine: Engine, images: tuple[Image, ...], states: list[ContainerState]) -> list[dict[str, Any]]:
    """Of each image what its layers take, and how much of that other images have too."""
    owners: dict[str, set[str]] = {}
    for image in images:
        for layer in image.layers:
            owners.setdefault(layer.digest, set()).add(image.id)
    found = []
    for image in images:
        sizes = dict(zip((layer.digest for layer in image.layers), engine.layer_sizes(image), strict=True))
        shared = sum(size for digest, size in sizes.items() if len(owners[digest]) > 1)
        found.append(
            image_row(image, sum(sizes.values()))
            | {
                "SharedSize": form.size(shared),
                "UniqueSize": form.size(sum(sizes.values()) - shared),
                "Containers": sum(state.image_id == image.id for state in states),
            }
        )
    return found


def container_row(state: ContainerState, size: int) -> dict[str, Any]:
    """One container's line."""
    return ps_row(state) | {"Size": form.size(size)}


def check(engine: Engine, values: Namespace, console: Console) -> int:
    """Read everything in the store, and tell what is not as it should be."""
    progress = BuildProgress(console)
    found = engine.check(repair=values.repair, on_event=progress)
    progress.close()
    console.print(form.result(found, values.format, report))
    return 1 if any(fault.is_lost or not fault.repaired for fault in found.faults) else 0


def report(found: StoreCheck) -> str:
    """A check in words: what was looked at, then each fault with the images that it hurts."""
    counted = ", ".join(
        (
            f"{text.plural(found.blobs, 'blob')} ({form.size(found.size)})",
            text.plural(found.tags, "name"),
            text.plural(found.images, "image"),
            text.plural(found.layers, "unpacked layer"),
            text.plural(found.cache, "cached step"),
            text.plural(found.containers, "container"),
        )
    )
    if not found.faults:
        return f"{counted}: all whole"
    repaired = sum(bool(fault.repaired) and not fault.is_lost for fault in found.faults)
    lost = sum(fault.is_lost for fault in found.faults)
    summary = text.plural(len(found.faults), "fault")
    summary += (f", {repaired} repaired" if repaired else "") + (
        f", {lost} put aside that images lack now" if lost else ""
    )
    return "\n".join([counted, *map(_fault, found.faults), summary])


def _fault(fault: Fault) -> str:
    lines = [f"{fault.kind} {text.printable(fault.name)} {text.printable(fault.problem)}"]
    if fault.images and fault.images != (fault.name,):
        lines.append(f"  hurts {', '.join(map(text.printable, fault.images))}")
    if fault.repaired:
        lines.append(f"  {fault.repaired}")
    return "\n".join(lines)


ALL = Flag(
    names=("-a", "--all"), help="also images with a name that no container was made from, and the whole build cache"
)
FORCE = Flag(names=("-f", "--force"), help="do not ask")
FILTER = filters(
    "only what fits: until=24h (older than that), label=KEY[=VALUE], label!=KEY[=VALUE]; of images also dangling=false",
    names=("--filter",),
)
KEEP = Flag(
    names=("--keep-storage",),
    metavar="BYTES",
    convert=size,
    help="instead remove what can be made again, the longest unused first, until the store takes no more: 10g",
)

VOLUMES = Flag(names=("--volumes",), help="also anonymous volumes that no container has")

VERBS = (
    Command(
        name="prune",
        act=pruning(*ALL_KINDS),
        summary="remove what is not used: stopped containers, images without a name, build cache, networks",
        flags=(ALL, FILTER, FORCE, KEEP, VOLUMES),
    ),
    Command(
        name="system prune",
        act=pruning(*ALL_KINDS),
        summary="the same as prune",
        flags=(ALL, FILTER, FORCE, KEEP, VOLUMES),
    ),
    Command(
        name="system df",
        act=system_df,
        summary="what the store takes of the disk",
        flags=(Flag(names=("-v", "--verbose"), help="each image and container"), FORMAT),
    ),
    Command(
        name="image prune",
        act=pruning("images"),
        summary="remove images without a name",
        flags=(Flag(names=("-a", "--all"), help="every image that no container was made from"), FILTER, FORCE),
    ),
    Command(
        name="network prune",
        act=pruning("networks"),
        summary="remove the networks that no running container is on",
        flags=(FILTER, FORCE),
    ),
    Command(
        name="container prune",
        act=pruning("containers"),
        summary="remove containers that do not run",
        flags=(FILTER, FORCE),
    ),
    Command(
        name="check",
        act=check,
        summary="read everything in the store and tell what is damaged",
        flags=(Flag(names=("--repair",), help="make again what can be, and put the rest aside"), FORMAT),
    ),
)
