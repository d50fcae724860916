"""Keys of steps by what is written, not by what came of the steps below: they are known before anything is executed.

By such a key a cache elsewhere is asked for what a step made of other stages, and where it has that, those stages are not needed.
As with BuildKit's keys, a command that gives something else each time is taken at its first word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import DockerfileError
from ..events import ignore
from ..oci.descriptor import Digest
from .inputs import EMPTY, Sources
from .plan import Plan
from .steps import Configure, Copy, Run, Source, cache_key


def definitions(plan: Plan, sources: Sources, uncached: Collection[str]) -> dict[int, Digest]:
    """The keys of nodes by their indexes; none for what is in an ``uncached`` stage or is fetched, and what stands on that."""
    found: dict[int, Digest] = {}
    for index, node in enumerate(plan.nodes):
        if any(one not in found for one in node.inputs):
            continue
        match node.step:
            case Source(image=image):
                found[index] = image.chain_ids[-1] if image and image.chain_ids else EMPTY
            case Configure():
                if node.parent is not None:
                    found[index] = found[node.parent]
            case Run() | Copy() as step:
                if node.stage in uncached or (isinstance(step, Copy) and step.remotes):
                    continue
                try:  # a tree that is not there yet has its node's key for its only layer
                    inputs = sources.of(node, {one: (found[one],) for one in node.inputs}, ignore)
                except DockerfileError:
                    continue  # the step itself will say so
                links = isinstance(step, Copy) and step.link
                below = EMPTY if links or node.parent is None else found[node.parent]
                found[index] = cache_key(step, (below, *inputs.digests))
    return found


def spared(plan: Plan, known: Collection[int]) -> frozenset[int]:
    """The nodes that the target does not need, where of the ``known`` ones only the tree below is."""
    needed: set[int] = set()
    left = [plan.target]
    while left:
        index = left.pop()
        if index not in needed:
            needed.add(index)
            left += needs(plan, index, known)
    return frozenset(range(len(plan.nodes))) - needed


def needs(plan: Plan, index: int, known: Collection[int] | Mapping[int, object]) -> tuple[int, ...]:
    """The nodes that one needs."""
    node = plan.nodes[index]
    if index in known:
        return (node.parent,) if node.parent is not None else ()
    return node.inputs
