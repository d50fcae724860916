"""What each layer of an image does to the files below it, and how much of it is wasted."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..oci.descriptor import Descriptor
from ..oci.image import History, Image
from ..results import Entry, Layer, LayerStack
from ..store.entries import Index
from .tree import removed_by, shown, sizes, split

if TYPE_CHECKING:
    from ..store.store import Store

LARGEST = 10
_SHELLS = ("/bin/sh -c ", "/bin/bash -c ")
_NO_OPERATION = "#(nop)"
_ARGUMENTS = re.compile(r"\A(?P<run>RUN )?\|(?P<count>\d+) (?P<rest>.*)\Z", re.DOTALL)


@dataclass(slots=True)
class Effect:
    """What one layer did: counts of paths, bytes of its files, and those of them that later layers make useless."""

    size: int = 0
    added: int = 0
    modified: int = 0
    deleted: int = 0
    wasted: int = 0
    largest: tuple[Entry, ...] = ()


@dataclass(slots=True)
class Efficiency:
    """dive's score: the smallest form of each path over all forms of it that the layers hold.

    A file that is removed counts as one of no bytes; a folder that is removed as one more path, with the bytes of all below it.

    A whiteout of something that is not there counts nothing; dive itself takes a byte off for it, and what else is in its layer is
    then not counted.

    Source: github.com/wagoodman/dive, dive/filetree/efficiency.go.
    """

    total: dict[str, int] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)

    def count(self, sizes: Mapping[str, int]) -> None:
        """The next layer's paths with their bytes."""
        again = {path: size for path, size in sizes.items() if path in self.total}
        total = {path: size + self.total[path] for path, size in again.items()}
        least = {path: min(size, self.least[path]) for path, size in again.items()}
        self.total.update(sizes)
        self.total.update(total)
        self.least.update(sizes)
        self.least.update(least)

    @property
    def score(self) -> float:
        """From 0 to 1; 1 for an image without bytes."""
        found = sum(self.total.values())
        return sum(self.least.values()) / found if found else 1.0


def layer_stack(store: Store, image: Image) -> LayerStack:
    """The layers of an image with their instructions, from the base up; a layer that is not unpacked is unpacked first.

    A folder that a layer only lists, as the parent of what it changes, counts as neither added nor modified. ``wasted`` are
    bytes that a later layer replaces or removes (dive's own figure adds the surviving copy).

    Raises:
        NotFound: a layer's blob is not in the store.
        IntegrityError: a layer is not what its digests say.

    """
    effects, efficiency = effects_of(indexes(store, image))
    layers = join(store.images.history(image), image, effects, sharing(image, store.images.list()))
    return LayerStack(
        name=image.name,
        id=image.id,
        platform=str(image.config.platform),
        layers=layers,
        size=sum(layer.size for layer in layers),
        stored_size=image.size,
        wasted=sum(layer.wasted for layer in layers),
        efficiency=efficiency,
    )


def indexes(store: Store, image: Image, *, above: int = 0) -> tuple[Index, ...]:
    """The indexes of an image's layers, from the base up or ``above`` so many; what is not unpacked is unpacked first.

    Raises:
        IntegrityError: an index is torn, or a layer that had to be unpacked is not what its digests say.

    """
    paths = [store.root / "layers" / chain.hex / "index" for chain in image.chain_ids[above:]]
    if not all(path.exists() for path in paths):
        store.snapshots.unpack(image)
    return tuple(Index.from_bytes(path.read_bytes()) for path in paths)


def effects_of(layers: Iterable[Index]) -> tuple[tuple[Effect, ...], float]:
    """What each layer did, from the base up, and dive's efficiency of the whole."""
    effects: list[Effect] = []
    tree: dict[str, bytes] = {}
    bytes_of: dict[str, int] = {}
    owners: dict[str, Effect] = {}
    efficiency = Efficiency()
    for layer in layers:
        effect = Effect()
        effects.append(effect)
        present, markers = split(layer)
        removed = [name for gone in removed_by(present, markers, tree).values() for name in gone]
        efficiency.count(_freed(markers.whiteouts & tree.keys(), removed, bytes_of))
        replaced: dict[str, bytes] = {}
        for name in removed:
            replaced[name] = tree.pop(name)
            owners[name].wasted += bytes_of.pop(name, 0)
            effect.deleted += name not in present
        for path in present:
            if path in tree:
                replaced[path] = tree[path]
                owners[path].wasted += bytes_of.pop(path, 0)
        held = sizes(present)
        efficiency.count(held)
        again = [path for path in present if path in replaced] if replaced else []
        effect.added = len(present) - len(again)
        effect.modified = sum(path in held or present[path] != replaced[path] for path in again)
        effect.size = sum(held.values())
        largest = heapq.nlargest(LARGEST, held, key=held.__getitem__)
        effect.largest = tuple(shown(path, present[path], layer.links) for path in largest if held[path])
        tree.update(present)
        bytes_of.update(held)
        owners.update(dict.fromkeys(present, effect))
    return tuple(effects), efficiency.score


def _freed(whiteouts: Iterable[str], removed: Iterable[str], held: Mapping[str, int]) -> dict[str, int]:
    """What each whiteout takes away: all bytes below a folder; of a file none, as dive counts it."""
    freed = dict.fromkeys(whiteouts, 0)
    for name in removed:
        size, above = held.get(name, 0), name.rpartition("/")[0]
        while size and above:
            if above in freed:
                freed[above] += size
            above = above.rpartition("/")[0]
    return freed


def sharing(image: Image, images: Iterable[Image]) -> dict[str, tuple[str, ...]]:
    """By each of an image's blobs the names of the other images that have it too; those without a tag go by the beginning of their ID."""
    found: dict[str, dict[str, None]] = {str(layer.digest): {} for layer in image.layers}
    for other in images:
        if other.id == image.id:
            continue
        name = other.reference.familiar if other.reference else other.id.short
        for digest in found.keys() & {str(layer.digest) for layer in other.layers}:
            found[digest][name] = None
    return {digest: tuple(names) for digest, names in found.items()}


def join(
    history: Iterable[tuple[History, Descriptor | None]],
    image: Image,
    effects: Sequence[Effect],
    shared: Mapping[str, tuple[str, ...]],
) -> tuple[Layer, ...]:
    """Each line of an image's history with the layer that it made, what that did, and who shares it."""
    made = zip(image.config.diff_ids, effects, strict=True)
    layers: list[Layer] = []
    for line, descriptor in history:
        if descriptor is None:
            layers.append(Layer(instruction=instruction(line), digest=None, diff_id=None))
            continue
        diff_id, effect = next(made)
        layers.append(
            Layer(
                instruction=instruction(line),
                digest=descriptor.digest,
                diff_id=diff_id,
                size=effect.size,
                stored_size=descriptor.size,
                added=effect.added,
                modified=effect.modified,
                deleted=effect.deleted,
                wasted=effect.wasted,
                largest=effect.largest,
                shared_with=shared.get(str(descriptor.digest), ()),
            )
        )
    return tuple(layers)


def _without_arguments(found: re.Match[str]) -> str:
    """``RUN |1 A=b /bin/sh -c make`` without the build arguments that builders write before it."""
    run, rest = found["run"] or "", found["rest"]
    starts = [place for shell in _SHELLS if (place := rest.find(f" {shell}")) >= 0]  # a value may have spaces, too
    return run + (rest[min(starts) + 1 :] if starts else rest.split(" ", int(found["count"]))[-1])


def instruction(line: History) -> str:
    """What made a layer, as its Dockerfile had it: builders write the shell before it and remarks behind."""
    text = line.created_by.strip().removesuffix("# buildkit").rstrip()
    text = _ARGUMENTS.sub(_without_arguments, text)
    for shell in _SHELLS:
        if text.startswith(shell):
            rest = text.removeprefix(shell)
            return rest.removeprefix(_NO_OPERATION).strip() if rest.startswith(_NO_OPERATION) else f"RUN {rest.strip()}"
        text = text.replace(f"RUN {shell}", "RUN ", 1) if text.startswith(f"RUN {shell}") else text
    return text or line.comment
