"""What COPY, ADD and WORKDIR put into a tree, as the calls that do it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..oci.runtime import Mount
from ..store import filling
from ..store.filling import Call
from ..store.picking import Rule
from .context import NOTHING, Context, above, below, clean
from .ignore import Ignore
from .inputs import Inputs
from .steps import Copy
from .wildcards import has_wildcards


def from_context(
    step: Copy, mounts: tuple[Mount, ...], context: Context | None, inputs: Inputs, beside: Path
) -> list[Call]:
    """What puts in files of the context, what was fetched, and documents; with none of them, the folder itself.

    ``beside`` is the folder that the snapshot's tree lies in, made just now.
    """
    groups: list[tuple[bool, bool, list[tuple[str, str]]]] = []
    if context is not None:
        groups += [(one.folder, step.unpack, context.rows(one)) for one in inputs.selected]
    for fetch in inputs.fetches:
        found = fetch()
        rows = _tree(found.path) if found.path.is_dir() else [(str(found.path), found.name)]
        groups.append((found.path.is_dir(), step.unpack_remotes, rows))
    groups += [(False, False, [(_document(beside, text), clean(name))]) for name, text in step.documents]
    if not (step.sources or step.documents or step.remotes):
        groups = [(True, False, [])]
    return [
        filling.copy(
            mounts,
            # The destination itself is no copy of a folder: what is in that goes into it. Made anew it is as old as the snapshot.
            [(str(beside), ""), *rows] if folder else rows,
            step.destination,
            directory=folder or step.destination.endswith("/"),
            chown=step.owner or None,
            chmod=step.mode,
            unpack=unpack and not folder,
        )
        for folder, unpack, rows in groups
    ]


def from_tree(step: Copy, mounts: tuple[Mount, ...], theirs: tuple[Mount, ...]) -> list[Call]:
    """What puts in files of another tree."""
    calls = []
    for source in step.sources:
        place, include = source, tuple[Rule, ...]()
        if step.parents:
            place, include = clean(above(source)), Ignore.of([clean(below(source))]).rules or NOTHING
        nothing = f"{source!r} matches nothing there"
        calls.append(
            filling.copy_from(
                mounts,
                theirs,
                [f"/{place}"],
                step.destination,
                directory=step.destination.endswith("/"),
                chown=step.owner or None,
                chmod=step.mode,
                include=include,
                exclude=Ignore.of(step.exclude).rules,
                may_miss=nothing if has_wildcards(place) else "",
                none_picked=nothing if step.parents else "",
            )
        )
    return calls


def _document(folder: Path, text: str) -> str:
    """A document of the Dockerfile as a file."""
    path = folder / secrets.token_hex(8)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o644)
    return str(path)


def _tree(folder: Path) -> list[tuple[str, str]]:
    """Everything below a folder of this host, a folder before what is in it."""
    found: list[tuple[str, str]] = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = f"{place}/{name}"
            found.append((path, os.path.relpath(path, folder)))
    return sorted(found, key=lambda row: row[1].split("/"))
