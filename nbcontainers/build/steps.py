"""What a build does, one step after another: plain values, with everything replaced and resolved that can be beforehand.

``Step`` is a closed union: whoever takes one says ``match`` and ends with ``assert_never``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, assert_never

from ..oci.descriptor import Digest
from ..oci.image import Image
from ..oci.runtime import Rlimit
from .mounts import RunMount
from .remotes import Remote

# Raised whenever the same key would mean another layer than before.
_VERSION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A tree of files to begin with: that of an image, or (None: ``scratch``) an empty one."""

    image: Image | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command is executed in the tree.

    ``document`` is the name and text of a script that is given to it in /dev/pipes. ``proxies`` are variables that the
    command sees and that neither the cache nor the history knows. ``network`` is ``default``, ``host`` or ``none``. ``mounts``
    are shown to it while it runs; ``hosts`` are lines for its /etc/hosts. ``arguments`` are the names in ``env`` that are build
    arguments, which only its explanation needs. An ``insecure`` one has all that the caller lends.
    ``hostname`` is what it takes its host for, where that is said; ``shm_size`` bytes its /dev/shm has (0: the usual), ``limits`` hold it.
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    user: str
    workdir: str
    network: str
    document: tuple[str, str] | None = None
    proxies: tuple[str, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    hosts: tuple[str, ...] = ()
    epoch: int | None = None
    arguments: tuple[str, ...] = ()
    insecure: bool = False
    hostname: str = ""
    shm_size: int = 0
    limits: tuple[Rlimit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files are put into the tree; with nothing to put, the folder ``destination`` is made (that is what WORKDIR does).

    ``sources`` are paths in a context (``context`` names it, "" is the build's own) or in the tree of another step;
    ``documents`` are names and texts of new files, ``remotes`` are fetched. ``destination`` is absolute and ends in a slash
    where it has to be a folder. ``owner`` is a user word (``name``, ``uid:gid`` …), empty for the sources' own; ``mode`` is what
    becomes of the permissions of everything copied, empty for the sources' own. With ``unpack`` archives are unpacked; with
    ``parents`` the folders above a source (from ``/./`` on) are copied too; ``exclude`` are patterns of what is left out. A
    ``link`` is made as on an empty tree, whatever is below: nothing of that is looked at, so the layer is the same on all.
    """

    sources: tuple[str, ...]
    documents: tuple[tuple[str, str], ...]
    destination: str
    owner: str
    mode: str
    context: str = ""
    remotes: tuple[Remote, ...] = ()
    unpack: bool = False
    unpack_remotes: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    link: bool = False
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """The configuration changes and no file does: nothing is executed."""


Step = Source | Run | Copy | Configure


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A step in the graph of a build.

    ``parent`` is the index of the node whose tree it goes on with (None for a Source), ``origin`` that of the node whose
    tree a COPY --from takes from. ``title``, ``lines`` and ``stage`` say where it stands; ``created_by`` is its line of the
    image's history.
    """

    step: Step
    parent: int | None
    origin: int | None
    title: str
    lines: tuple[int, int]
    stage: str
    created_by: str

    @property
    def inputs(self) -> tuple[int, ...]:
        """The nodes that must be made before it."""
        mounts = [mount.origin for mount in self.step.mounts] if isinstance(self.step, Run) else []
        return tuple(index for index in (self.parent, self.origin, *mounts) if index is not None)

    @property
    def place(self) -> str:
        """Its lines in words."""
        first, last = self.lines
        return f"line {first}" if first == last else f"lines {first} to {last}"


def cache_key(step: Step, inputs: Sequence[Digest]) -> Digest:
    """The key under which a step's layer is kept: the same step on the same inputs makes the same layer.

    Args:
        step: a Run or a Copy (a Source has the key of its image; a Configure that of its input).
        inputs: the chain ID it goes on with, and the digests of what is copied or mounted.

    """
    known: list[Any]
    match step:
        case Source(image=image):
            known = ["source", str(image.chain_ids[-1]) if image and image.chain_ids else ""]
        case Run():
            known = ["run", step.args, step.env, step.user, step.workdir, step.network, step.document, step.epoch]
            known += [[mount.identity for mount in step.mounts], step.hosts, *(["insecure"] if step.insecure else [])]
            known += [step.hostname] if step.hostname else []
            known += [["shm", step.shm_size]] if step.shm_size else []
            known += [["limits", *map(astuple, step.limits)]] if step.limits else []
        case Copy():
            known = ["copy", step.sources, step.documents, step.destination, step.owner, step.mode, step.epoch]
            known += [step.unpack, step.unpack_remotes, step.parents, step.exclude, *(["link"] if step.link else [])]
        case Configure():
            known = ["configure"]
        case _:
            assert_never(step)
    data = json.dumps([_VERSION, known, inputs], separators=(",", ":")).encode("utf-8", "surrogatepass")
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())
