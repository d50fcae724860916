"""The loop of a build: each step's layer is in the cache, or is made; then the image is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from ..errors import IntegrityError, NBContainersError, NotFound
from ..events import Event, Observer, Progress, StepFinished, StepStarted, StepStopped, Warned, ignore
from ..oci import image as oci
from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest
from ..results import BuildStep
from ..store.store import Store
from .definitions import definitions, needs, spared
from .earlier import UNASKED, Earlier, Step
from .execute import Executor
from .history import dated, instant
from .inputs import Inputs, Sources
from .jobs import MADE, Jobs, Task, Work
from .layers import Tree
from .plan import Plan
from .reasons import Account, account
from .records import Made, Records
from .sharing import Place, Shared, Sharing, bring
from .steps import Configure, Copy, Node, Run, Source, cache_key


def _of_step(number: int, on_event: Observer) -> Observer:
    """Tells of what happens as of a step's."""

    def tell(event: Event) -> None:
        on_event(replace(event, step=number) if isinstance(event, Progress | Warned) else event)

    return tell


class Solver:
    """The trees that the nodes have made so far."""

    def __init__(
        self,
        made: Plan,
        store: Store,
        records: Records,
        executor: Executor,
        sources: Sources,
        earlier: Earlier,
        on_event: Observer,
        *,
        uncached: frozenset[str],
        sharing: Sharing,
    ) -> None:
        self.plan = made
        self.store = store
        self.records = records
        self.executor = executor
        self.sources = sources
        self.on_event = on_event
        self.earlier = earlier
        self.uncached = uncached
        self.sharing = sharing
        self.trees: dict[int, Tree] = {}
        self.layers: dict[int, Made] = {}
        self.anew: set[int] = set()
        self.making: dict[Digest, int] = {}  # the node that makes what a key stands for
        self.landing: dict[int, Callable[[], None]] = {}  # what is made, and not yet brought to the disk and remembered
        self.steps: dict[int, BuildStep] = {}
        counted = (index for index, node in enumerate(made.nodes) if not isinstance(node.step, Configure))
        self.numbers = {index: number for number, index in enumerate(counted, 1)}
        self.begun: dict[int, float] = {}
        is_asked = sharing.is_asked or records.has_defined
        self.defined = definitions(made, sources, uncached) if is_asked else {}
        self.known = {index: found for index in self.defined if (found := self.defined_elsewhere(index))}
        self.spared = set(spared(made, self.known)) if self.known else set[int]()
        needed = [() if index in self.spared else self.needs(index) for index in range(len(made.nodes))]
        self.jobs = Jobs(self.step, needed, on_event)

    def defined_elsewhere(self, index: int) -> Made | tuple[Place, Shared] | None:
        """What a cache has of a node that takes from other stages, by what is written: those stages need not be made."""
        node = self.plan.nodes[index]
        if set(node.inputs) <= {node.parent}:
            return None
        return self.records.find(self.defined[index]) or next(iter(self.sharing.find([self.defined[index]])), None)

    def solve(self) -> None:
        """Find or make the trees of all nodes; the first error is raised, and told of its step, the others as cancelled."""
        self.sources.check([node for index, node in enumerate(self.plan.nodes) if index not in self.spared])
        try:
            self.jobs.run()
        except Exception:
            failed = self.jobs.failed
            if failed is not None:  # else it is the observer's own error
                for index in sorted(self.begun.keys() - self.steps.keys(), key=lambda one: (one != failed, one)):
                    seconds, cancelled = time.monotonic() - self.begun[index], index != failed
                    self.on_event(StepStopped(number=self.numbers[index], seconds=seconds, cancelled=cancelled))
            raise

    def needs(self, index: int) -> tuple[int, ...]:
        """The nodes whose trees one needs."""
        return needs(self.plan, index, self.known)

    def step(self, index: int) -> Task:
        """Find or make the tree of one node."""
        if index in self.spared:
            self.spare(index)
            return
        node = self.plan.nodes[index]
        below = self.trees[node.parent] if node.parent is not None else Tree()
        if isinstance(node.step, Configure):
            self.trees[index] = below
            return
        number, begun, total = self.numbers[index], time.monotonic(), len(self.numbers)
        self.begun[index] = begun
        self.on_event(StepStarted(number=number, total=total, text=node.title, stage=node.stage, lines=node.lines))
        match node.step:
            case Source(image=image):
                tree, cached, layer, reason = Tree.of(image) if image else Tree(), True, None, ""
                self.earlier.steps[number] = Step(node.stage, node.title, tree.chain_id)
            case Run() | Copy():
                layer, cached, reason = yield from self.layer(index, below, number)
                tree = below.with_layer(layer)
                self.layers[index] = layer
            case _:
                assert_never(node.step)
        self.trees[index] = tree
        seconds = time.monotonic() - begun
        diff_id = layer.diff_id if layer else None
        self.on_event(StepFinished(number=number, cached=cached, seconds=seconds, layer=diff_id, reason=reason))
        self.steps[index] = BuildStep(
            text=node.title,
            stage=node.stage,
            lines=node.lines,
            cached=cached,
            seconds=seconds,
            layer=diff_id,
            reason=reason,
        )
        if index in self.landing:
            # Where it has another chain ID it is unpacked from its blob, on what is below.
            if layer is not None and layer.chain_id == tree.chain_id:
                yield MADE
            yield partial(self.landed, index)
            self.making = {key: node for key, node in self.making.items() if node != index}

    def spare(self, index: int) -> None:
        """Tell that a node is not needed: what another took from it is in a cache."""
        node = self.plan.nodes[index]
        if isinstance(node.step, Configure):
            return
        number, total = self.numbers[index], len(self.numbers)
        self.on_event(StepStarted(number=number, total=total, text=node.title, stage=node.stage, lines=node.lines))
        self.on_event(StepFinished(number=number, cached=True, seconds=0.0, layer=None, reason=""))
        self.steps[index] = BuildStep(
            text=node.title, stage=node.stage, lines=node.lines, cached=True, seconds=0.0, layer=None, reason=""
        )

    def revive(self, index: int) -> Generator[int, Any, None]:
        """Have what a node takes from made after all, for the cache that had it was of no use; whoever needs it waits for it."""
        needed = sorted(self.below(index))
        for one in needed:
            if one in self.spared:
                self.spared.remove(one)
                self.steps.pop(one, None)
                self.jobs.again(one, self.needs(one))
        for one in needed:
            if one not in self.trees:
                yield one

    def below(self, index: int) -> set[int]:
        """All nodes that one stands on and takes from."""
        found, left = set[int](), [index]
        while left:
            new = set(self.needs(left.pop())) - found
            found |= new
            left += new
        return found

    def landed(self, index: int, tell: Observer = ignore) -> None:
        """Bring what a step made to the disk, and remember it."""
        if (landing := self.landing.pop(index, None)) is not None:
            landing()

    def land(self) -> None:
        """The same for what other steps made that ended well before the build was stopped."""
        for index in tuple(self.landing):
            with contextlib.suppress(NBContainersError, OSError):
                self.landed(index)

    def layer(self, index: int, below: Tree, number: int) -> Generator[Work | int, Any, tuple[Made, bool, str]]:
        """The layer of a RUN, COPY or WORKDIR, whether it was in the cache, and why it was made anew."""
        node = self.plan.nodes[index]
        step = node.step
        if index in self.known:
            known, key = self.known[index], self.defined[index]
            self.earlier.steps[number] = Step(node.stage, node.title, key)
            found = known if isinstance(known, Made) else (yield partial(self.brought, *known, below, number))
            if found:
                self.records.keep_defined(key, found)
                self.note(index, (key,), found)
                return found, True, ""
            del self.known[index]
            yield from self.revive(index)
        trees = {other: self.trees[other] for other in node.inputs}
        chains = {other: tree.chain for other, tree in trees.items()}

        def look(tell: Observer) -> Inputs:
            return self.sources.of(node, chains, _of_step(number, tell))

        inputs: Inputs = (yield look) if isinstance(step, Copy) and step.remotes else look(self.on_event)
        base = Tree() if isinstance(step, Copy) and step.link else below
        keys = [cache_key(step, (base.chain_id, *inputs.digests))]
        may_find = node.stage not in self.uncached
        self.earlier.steps[number] = Step(node.stage, node.title, keys[0])
        if may_find and keys[0] in self.making:
            yield self.making[keys[0]]
        if may_find and (found := self.records.find(keys[0])):
            self.note(index, keys, found)
            return found, True, ""
        if isinstance(step, Copy) and node.origin is not None:
            same = self.sources.same(step, self.trees[node.origin].chain)
            keys += [cache_key(step, (base.chain_id, same))] if same else []
            if may_find and same and keys[1] in self.making:
                yield self.making[keys[1]]
            if may_find and same and (found := self.records.find(keys[1])):
                self.records.keep(keys[0], found)
                self.earlier.made(keys[0], self.account(node, base, inputs))
                self.note(index, keys, found)
                return found, True, ""
        for place, shared in self.sharing.find(keys) if may_find else ():
            found = yield partial(self.brought, place, shared, below, number)
            if found:
                for key in keys:
                    self.records.keep(key, found)
                self.note(index, keys, found)
                self.earlier.made(keys[0], self.account(node, base, inputs))
                return found, True, ""
        account = self.account(node, base, inputs)
        reason = self.why(node, account, number, keys[0]) if may_find else UNASKED
        self.making |= dict.fromkeys(keys, index)

        def make(tell: Observer) -> Made:
            self.sources.forget()
            contexts, told = self.sources.contexts, _of_step(number, tell)
            match step:
                case Run():
                    made, landing = self.executor.run(node, step, trees, contexts, inputs, number, told)
                case Copy():
                    made, landing = self.executor.copy(node, step, trees, contexts, inputs, told)
                case _:
                    raise AssertionError("only RUN and COPY make layers")

            def land() -> None:
                landing()
                for key in keys:
                    self.records.keep(key, made)
                self.earlier.made(keys[0], account)

            self.landing[index] = land  # at once: after an interrupt nobody hears this thread's answer
            return made

        layer: Made = yield make
        self.note(index, keys, layer)
        self.anew.add(index)
        return layer, False, reason

    def note(self, index: int, keys: Sequence[Digest], made: Made) -> None:
        """Keep what a step made for caches elsewhere, under the key of what is written too."""
        defined = [self.defined[index]] if index in self.defined else []
        self.sharing.note(index, list(dict.fromkeys((*keys, *defined))), made)

    def brought(self, place: Place, shared: Shared, below: Tree, number: int, tell: Observer) -> Made | None:
        """What another cache has for a step."""
        self.sources.forget()
        return bring(self.store, place, shared, below, _of_step(number, tell))

    def account(self, node: Node, below: Tree, inputs: Inputs) -> Account:
        """What a step is made of, for the next build to compare with."""
        theirs = self.plan.nodes[node.origin] if node.origin is not None else node
        origin = theirs.stage or theirs.title.partition(" ")[2]
        chains = {index: self.trees[index].chain for index in node.inputs}
        files, contents = self.sources.account(node, inputs, chains, origin)
        return account(node, below.chain_id, files, contents)

    def why(self, node: Node, now: Account, number: int, key: Digest) -> str:
        """Why a step is not in the cache."""
        above = node.parent
        while above is not None and isinstance(self.plan.nodes[above].step, Configure):
            above = self.plan.nodes[above].parent
        is_first = above is None or isinstance(self.plan.nodes[above].step, Source)
        return self.earlier.why(number - 1, now, key, is_first=is_first, above_is_new=above in self.anew)

    def image(self, epoch: int | None) -> oci.Image:
        """Write the image of the target; the same build again gives the same one and writes nothing."""
        line = self.plan.line(self.plan.target)
        tree = self.trees[self.plan.target]
        new = [
            oci.History(
                created=instant(epoch)
                if epoch is not None
                else self.layers[index].created
                if index in self.layers
                else "",
                created_by=self.plan.nodes[index].created_by,
                comment="buildkit.dockerfile.v0",
                empty_layer=index not in self.layers,
            )
            for index in line
            if self.plan.nodes[index].created_by
        ]
        history = dated(self.plan.config.history, tuple(new))
        created = (
            instant(epoch) if epoch is not None else next((one.created for one in reversed(history) if one.created), "")
        )
        config = replace(self.plan.config, created=created, diff_ids=tree.diff_ids, history=history)
        self.sharing.own = tuple(index for index in line if index in self.layers)
        annotations = self.sharing.annotations(tree.layers)
        found = self.written(config, tree, annotations)
        return found or self.store.images.create(config, tree.layers, annotations)

    def written(self, config: oci.ImageConfig, tree: Tree, annotations: Mapping[str, str]) -> oci.Image | None:
        """The image if it is in the store already: nothing has to be made durable again."""
        data = oci.to_bytes(config)
        described = Descriptor(media_type=CONFIG, digest=Digest.of(data), size=len(data))
        manifest = oci.Manifest(config=described, layers=tree.layers, annotations=annotations)
        data = oci.to_bytes(manifest)
        descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(data), size=len(data))
        self.store.leases.protect(descriptor.digest, described.digest)
        if not (self.store.content.has(descriptor.digest) and self.store.content.has(described.digest)):
            return None
        try:
            return self.store.images.open(descriptor)
        except (IntegrityError, NotFound):
            return None
