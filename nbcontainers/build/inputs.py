"""What steps take from elsewhere: files of contexts, of other trees and of the network, each with the digest that stands for it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DockerfileError, IntegrityError, NotFound
from ..events import Observer, Warned
from ..oci.descriptor import Digest
from ..store.store import Store
from . import fetching
from .context import Context, Selected, above, clean
from .fetching import Fetched
from .mounts import RunMount
from .reasons import called
from .remotes import Remote
from .steps import Copy, Node, Run
from .trees import content_digest
from .wildcards import has_wildcards, is_direct

Chain = Sequence[Digest]
EMPTY = Digest("sha256:" + "0" * 64)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a step takes: ``digests`` go into its cache key.

    ``selected`` are files of a context, in the order of the sources; ``mounted`` is what binds from a context show, by the
    mount's place in the step; ``fetches`` bring what is fetched, when the step is really executed.
    """

    digests: tuple[Digest, ...] = ()
    selected: tuple[Selected, ...] = ()
    mounted: Mapping[int, Selected] = field(default_factory=dict)
    fetches: tuple[Callable[[], Fetched], ...] = ()


class Sources:
    """The contexts of one build ("" is its own), and what was fetched for it; ``close`` throws that away."""

    def __init__(self, store: Store, contexts: Mapping[str, Context]) -> None:
        self._store = store
        self.contexts = contexts
        self._fetched: list[Path] = []
        self._seen: dict[tuple[object, ...], tuple[Selected, ...]] | None = {}
        self._nodes: Sequence[Node] = ()

    def check(self, nodes: Sequence[Node]) -> None:
        """DockerfileError where some steps name a file that no context has, before any is executed; of several as BuildKit, the last."""
        self._nodes = nodes
        for node in reversed(nodes):
            with _placed(node):
                for context, source in self._named(node):
                    if not has_wildcards(source):
                        context.path_of(source)

    def _named(self, node: Node) -> Iterator[tuple[Context, str]]:
        """What a step names in contexts, as it is looked for: paths, and patterns."""
        match node.step:
            case Run(mounts=mounts):
                named = [(mount.context, _literal(mount.source)) for mount in mounts if mount.context is not None]
            case Copy() as step if node.origin is None:
                named = [(step.context, above(source) if step.parents else source) for source in step.sources]
            case _:
                named = []
        return ((self.contexts[name], source) for name, source in named if name in self.contexts)

    def _has_folder(self, context: Context, folder: str) -> bool:
        """Whether BuildKit would have a folder of a context: it gets only what some step names, with the folders that lead there."""
        for node in self._nodes:
            for other, source in self._named(node):
                if other is context:
                    for path in context.paths(source):
                        if not path or f"{path}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{path}/"):
                            return True
        return False

    def forget(self) -> None:
        """Look at every context anew from now on: what takes time begins, and files may change meanwhile.

        Before that each source is looked up once, though several steps or keys ask for it.
        """
        self._seen = None

    def close(self) -> None:
        """Keep the digests of files for the next build, and remove what was fetched."""
        for context in self.contexts.values():
            context.save()
        for folder in self._fetched:
            shutil.rmtree(folder, ignore_errors=True)

    def of(self, node: Node, chains: Mapping[int, Chain], on_event: Observer) -> Inputs:
        """What a step takes now.

        Args:
            node: a RUN, COPY, ADD or WORKDIR.
            chains: the chain IDs of the trees that other nodes made.
            on_event: is warned of wildcards that match nothing, and hears of what is fetched.

        Raises:
            DockerfileError: a source is not there, with the line.

        """
        with _placed(node):
            match node.step:
                case Run(mounts=mounts):
                    return self._of_run(node, mounts, chains)
                case Copy():
                    return self._of_copy(node, node.step, chains, on_event)
                case _:
                    return Inputs()

    def account(
        self, node: Node, inputs: Inputs, chains: Mapping[int, Chain], origin: str
    ) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """What a step takes: each file of contexts with its mode and digest, and digests of the rest by what that is called.

        ``origin`` is what the tree is called that a COPY --from takes from.
        """
        files: list[tuple[str, str]] = []
        contents: dict[str, str] = {}
        match node.step:
            case Run(mounts=mounts):
                taken = [(number, mount) for number, mount in enumerate(mounts) if _has_digest(mount)]
                for (number, mount), digest in zip(taken, inputs.digests, strict=True):
                    selected = inputs.mounted.get(number)
                    if mount.context is not None and selected is not None:
                        files += self.contexts[mount.context].listing(selected)
                    else:
                        contents[f"what is mounted on {mount.target}"] = digest
            case Copy() as step:
                context = self.contexts.get(step.context)
                if context is not None:
                    files += [row for one in inputs.selected for row in context.listing(one)]
                if node.origin is not None:
                    chain = chains[node.origin]
                    contents[f"what it copies from {origin}"] = self.same(step, chain) or (
                        chain[-1] if chain else EMPTY
                    )
                fetched = inputs.digests[len(inputs.digests) - len(step.remotes) :]
                contents |= {called(one): digest for one, digest in zip(step.remotes, fetched, strict=True)}
            case _:
                pass
        return files, contents

    def same(self, step: Copy, origin: Chain) -> Digest | None:
        """What stands for the files that a COPY --from takes, whatever else is in the other tree."""
        if step.parents or step.exclude:
            return None
        return content_digest(self._store.root / "layers", origin, step.sources)

    def _of_run(self, node: Node, mounts: Sequence[RunMount], chains: Mapping[int, Chain]) -> Inputs:
        digests: list[Digest] = []
        mounted: dict[int, Selected] = {}
        for number, mount in enumerate(mounts):
            if mount.context is not None:
                context = self._context(node, mount.context, mount.source)
                (selected,) = self._select(context, _literal(mount.source))
                mounted[number] = selected
                digests.append(Digest.of(f"{number}\0{selected.folder}\0{selected.digest}".encode()))
            elif mount.origin is not None:
                chain = chains[mount.origin]
                found = content_digest(self._store.root / "layers", chain, [clean(mount.source)])
                digests.append(found or (chain[-1] if chain else EMPTY))
        return Inputs(tuple(digests), mounted=mounted)

    def _of_copy(self, node: Node, step: Copy, chains: Mapping[int, Chain], on_event: Observer) -> Inputs:
        selected: list[Selected] = []
        digests: list[Digest] = []
        if node.origin is not None:
            chain = chains[node.origin]
            digests.append(chain[-1] if chain else EMPTY)
        elif step.sources:
            context = self._context(node, step.context, step.sources[0])
            for source in step.sources:
                found = self._select(context, source, step.exclude, parents=step.parents)
                if not found and not step.parents:
                    folder = context.folder_of(source)
                    if folder and is_direct(source) and not self._has_folder(context, folder):
                        message = f"{source!r} matches nothing, and nothing else in {folder!r} is copied"
                        raise NotFound(message, hint="a pattern may match nothing where its folder itself is needed")
                if not found or (step.parents and all(map(context.is_empty, found))):
                    on_event(Warned(message=f"{source!r} matches nothing in the context", line=node.lines[0]))
                selected += found
                digests += [Digest.of(f"{one.name}\0{one.folder}\0{one.digest}".encode()) for one in found]
        fetches = []
        for remote in step.remotes:
            digest, fetch = self._remote(remote, on_event)
            digests.append(digest)
            fetches.append(fetch)
        return Inputs(tuple(digests), tuple(selected), fetches=tuple(fetches))

    def _select(
        self, context: Context, source: str, exclude: Sequence[str] = (), *, parents: bool = False
    ) -> tuple[Selected, ...]:
        select, seen = context.select_parents if parents else context.select, self._seen
        if seen is None:
            return select(source, exclude)
        asked = (id(context), source, *exclude, parents)
        if asked not in seen:
            seen[asked] = select(source, exclude)
        return seen[asked]

    def _context(self, node: Node, name: str, source: str) -> Context:
        found = self.contexts.get(name)
        if found is None:
            raise DockerfileError(
                f"{node.place}: {source!r} cannot be copied: this build has no context",
                lines=node.lines,
                hint="give the folder that COPY takes files from",
            )
        return found

    def _remote(self, remote: Remote, on_event: Observer) -> tuple[Digest, Callable[[], Fetched]]:
        """What stands for an address, and what fetches it. With a checksum nothing has to be fetched to know."""
        if remote.kind == "git":
            commit = fetching.commit_of(remote)
            return fetching.commit_digest(remote, commit), lambda: fetching.repository(remote, commit, self._folder())
        if remote.checksum:
            digest = Digest.of(f"{remote.checksum}\0{remote.name}".encode())
            return digest, lambda: fetching.file(remote, self._folder(), on_event)
        fetched = fetching.file(remote, self._folder(), on_event)
        return fetched.digest, lambda: fetched

    def _folder(self) -> Path:
        folder = self._store.root / "snapshots" / f"fetched-{secrets.token_hex(8)}"
        self._store.leases.protect(folder.name)
        folder.mkdir(mode=0o700)
        self._fetched.append(folder)
        return folder


@contextlib.contextmanager
def _placed(node: Node) -> Iterator[None]:
    """What is wrong with the sources of a step, told with its lines."""
    try:
        yield
    except (NotFound, IntegrityError) as error:
        raise DockerfileError(f"{node.place}: {error.message}", lines=node.lines, hint=error.hint) from error
    except ValueError as error:
        message = f"{node.place}: a pattern that cannot be read: {error}"
        raise DockerfileError(message, lines=node.lines, hint="see 'Dockerignore file' in Docker's manual") from error
    except OSError as error:
        raise DockerfileError(
            f"{node.place}: {error.filename} cannot be read: {error.strerror}",
            lines=node.lines,
            hint="leave it out in .dockerignore, or make it readable",
        ) from error


def _literal(source: str) -> str:
    """A path as a pattern that matches it alone."""
    return clean(source).replace("[", "\\[").replace("*", "\\*").replace("?", "\\?")


def _has_digest(mount: RunMount) -> bool:
    return mount.context is not None or mount.origin is not None
