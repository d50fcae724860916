"""COPY and ADD, read: the step that each is."""

from __future__ import annotations

import posixpath
import re

from ..store import modes
from . import instructions as ins
from . import lint, transfers
from .context import clean
from .ignore import Ignore
from .lint import Linter
from .scope import Scope
from .source import Range, wrong
from .steps import Copy


def step(
    scope: Scope, written: ins.Copy | ins.Add, *, ignore: Ignore, linter: Linter, epoch: int | None
) -> tuple[Copy, str]:
    """The step of a COPY or an ADD, and its line of the history."""
    place, keyword = written.range, "ADD" if isinstance(written, ins.Add) else "COPY"
    sources = [scope.word(source, place) for source in written.sources]
    destination = scope.word(written.destination, place)
    owner, mode = scope.word(written.owner, place), scope.word(written.mode, place)
    if mode:
        _check_mode(mode, keyword, place)
    documents = tuple(
        (one.name, scope.expansion(one.text, place, quotes=False).text if one.expand else one.text)
        for one in written.documents
    )
    switches = {flag.name: flag.value == "true" for flag in written.flags}
    parents = switches.get("parents", False)
    files, addresses = transfers.split(sources, written, scope)
    if not (isinstance(written, ins.Copy) and written.origin):
        lint.ignored(linter, keyword, map(clean, files), ignore, place)
    step = Copy(
        sources=tuple(files) if parents else tuple(map(clean, files)),
        documents=documents,
        destination=_destination(scope.directory, destination),
        owner=owner,
        mode=mode,
        remotes=tuple(addresses),
        unpack=switches.get("unpack", keyword == "ADD"),
        unpack_remotes=switches.get("unpack", False),
        parents=parents,
        exclude=tuple(scope.word(pattern, place) for pattern in written.exclude),
        # A name is looked up in the tree below, so that with one the layer is not the same on all. With a mode BuildKit links
        # nothing either: the folders above would take it, and bring it to those below that have their own.
        link=switches.get("link", False) and not mode and all(map(_is_number, owner.split(":"))),
        epoch=epoch,
    )
    words = [keyword]
    words += ["--parents"] if parents else []
    words += [f"--chown={owner}"] if owner else []
    words += [f"--chmod={mode}"] if mode else []
    words += [*sources, *(f"<<{name}" for name, _ in documents), destination, "# buildkit"]
    return step, " ".join(words)


def folder(name: str, epoch: int | None) -> Copy:
    """All that a named context has, as a tree to begin with."""
    return Copy(sources=("",), documents=(), destination="/", owner="", mode="", context=name, epoch=epoch)


def _destination(directory: str, path: str) -> str:
    folder = path in ("", ".") or path.endswith(("/", "/."))
    joined = "/" + posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")
    return joined + "/" if folder and joined != "/" else joined


def _is_number(word: str) -> bool:
    """Whether part of an owner is no name, which is looked up: above an int32 it is one, as in BuildKit."""
    return not word or (re.fullmatch("[0-9]+", word) is not None and int(word) < 1 << 31)


def _check_mode(text: str, keyword: str, place: Range) -> None:
    try:
        modes.parse(text)
    except ValueError:
        raise wrong(
            f"{keyword} has --chmod={text}",
            place,
            hint="a mode is octal from 0 to 7777, as in 755, or symbolic, as in u=rwX,go=rX",
        ) from None
