"""Why a step was made anew: what it was made of is compared with what the same step of an earlier build was made of.

Everything here is names, words and digests; a value whose name sounds like a secret's is never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..oci.descriptor import Digest
from .lint import sounds_secret
from .remotes import Remote
from .steps import Copy, Node, Run

MOST_FILES = 500
_MOST_VALUE = 60  # characters of a value that is told
_KEPT_VALUE = 2000
_SAME_LENGTH = 16  # hexadecimal digits that stand for a content
_HIDDEN = 4  # the same for what may be a secret: enough to see a change, and no way back


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a step was made of: its text, the tree below it (a chain ID), and what else its cache key knows.

    ``facts`` are told with their values (``the user``: ``app``), ``contents`` only as changed; ``arguments`` and ``variables``
    are what a command sees by name; ``files`` are paths, each with its mode and the beginning of its digest. A path that ends in
    a slash stands for all that is below it.
    """

    title: str
    base: str
    facts: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The account as it is kept."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Any) -> Account:
        """An account that was kept. ValueError, TypeError or KeyError where it is none."""
        tables = {
            name: {str(key): str(value) for key, value in data[name].items()}
            for name in cls.__slots__
            if name not in _TEXTS
        }
        return cls(title=str(data["title"]), base=str(data["base"]), **tables)


_TEXTS = ("title", "base")


def account(node: Node, base: Digest, files: Iterable[tuple[str, str]], contents: Mapping[str, str]) -> Account:
    """What a RUN, COPY, ADD or WORKDIR is made of now.

    Args:
        node: the step's node.
        base: the chain ID of the tree below it.
        files: what it takes from contexts, each path with its mode and digest.
        contents: digests of what it takes from elsewhere, by what that is called.

    """
    facts: dict[str, str] = {}
    inner = dict(contents)
    arguments: dict[str, str] = {}
    variables: dict[str, str] = {}
    step = node.step
    match step:
        case Run():
            facts |= {"the command": " ".join(step.args), "the user": step.user or "root"}
            facts |= {"the working directory": step.workdir, "the network": step.network}
            facts |= {
                "--add-host": ", ".join(step.hosts),
                "--shm-size": str(step.shm_size or ""),
                "--ulimit": ", ".join(f"{one.type}={one.soft}:{one.hard}" for one in step.limits),
                "--mount": " ".join(str(one.identity) for one in step.mounts),
            }
            if step.document is not None:
                inner["its script"] = step.document[1]
            for name, _, value in (entry.partition("=") for entry in step.env):
                (arguments if name in step.arguments else variables)[name] = value
        case Copy():
            facts |= {"what it copies": " ".join((*step.sources, *map(called, step.remotes)))}
            facts |= {"the destination": step.destination, "--chown": step.owner, "--chmod": step.mode}
            facts |= {"--exclude": " ".join(step.exclude)}
            inner |= {f"the text of <<{name}": text for name, text in step.documents}
        case _:
            pass
    if isinstance(step, Run | Copy):
        facts["SOURCE_DATE_EPOCH"] = "" if step.epoch is None else str(step.epoch)
    return Account(
        title=node.title[:_KEPT_VALUE],
        base=base,
        facts={name: _kept(value) for name, value in facts.items()},
        contents={name: _digest(value, _SAME_LENGTH) for name, value in inner.items()},
        arguments={name: _veiled(name, value) for name, value in arguments.items()},
        variables={name: _veiled(name, value) for name, value in variables.items()},
        files=bounded(files),
    )


def called(remote: Remote) -> str:
    """What an address is called in a sentence: without a password that may be in it, or a token."""
    return remote.name or urlsplit(remote.url).path.rpartition("/")[2] or "a repository"


def bounded(files: Iterable[tuple[str, str]], most: int = MOST_FILES) -> dict[str, str]:
    """Files with what stands for each; where there are too many, folders with what stands for all that is in them."""
    found = dict(files)
    depth = max((path.count("/") for path in found), default=0)
    while len(found) > most and depth:
        sums: dict[str, Any] = {}
        for path, value in sorted(found.items()):
            parts = path.removesuffix("/").split("/")
            above = "/".join(parts[:depth]) + "/" if len(parts) > depth else path
            sums.setdefault(above, hashlib.sha256()).update(f"{path}\0{value}\0".encode("utf-8", "surrogateescape"))
        found = {
            path: total.hexdigest()[:_SAME_LENGTH] if path.endswith("/") else found[path]
            for path, total in sums.items()
        }
        depth -= 1
    if len(found) > most:
        whole = hashlib.sha256(repr(sorted(found.items())).encode("utf-8", "surrogateescape"))
        return {"./": whole.hexdigest()[:_SAME_LENGTH]}
    return found


def differences(before: Account, after: Account) -> Iterator[str]:
    """What changed of a step itself, as clauses; what is told first comes first. The tree below it is not looked at."""
    if before.title != after.title:
        yield f"the instruction was {_shown(before.title)!r}"
        return  # what else differs follows from it, or is not told from what does
    yield from _values("the build argument ", before.arguments, after.arguments)
    yield from _values("the variable ", before.variables, after.variables)
    for name, value in after.facts.items():
        if (old := before.facts.get(name, "")) != value:
            yield f"{name} {_was(old, value)}"
    for name, value in after.contents.items():
        if before.contents.get(name) != value:
            yield f"{name} changed" if name in before.contents else f"{name} is new"
    yield from (f"{name} is gone" for name in before.contents if name not in after.contents)
    yield from _files(before.files, after.files)


def _values(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name, value in after.items():
        if name not in before:
            yield f"{what}{name} is new" + ("" if _is_veiled(value) else f": {_shown(value)!r}")
        elif before[name] != value:
            yield f"{what}{name} {_was(before[name], value)}"
    yield from (f"{what}{name} is gone" for name in before if name not in after)


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    changed, rest = list[str](), list[str]()
    for path, value in after.items():
        old = before.get(path)
        if old is None:
            rest.append(f"{_path(path)} is new")
        elif old != value:
            (mode, _, content), (old_mode, _, old_content) = value.partition(" "), old.partition(" ")
            if path.endswith("/"):
                changed.append(f"something in {_path(path)} changed")
            elif content == old_content:
                rest.append(f"the mode of {_path(path)} was {old_mode}, is {mode}")
            else:
                changed.append(f"{_path(path)} changed")
    rest += [f"{_path(path)} is gone" for path in before if path not in after]
    yield from changed
    yield from rest


def sentence(clauses: Iterable[str]) -> str:
    """The first of some clauses, and how many more there are."""
    first, *more = [*clauses] or [""]
    return f"{first}, and {len(more)} more" if more else first


def _was(old: str, new: str) -> str:
    if _is_veiled(old) or _is_veiled(new) or len(old) > _MOST_VALUE or len(new) > _MOST_VALUE:
        return "changed"
    return f"was {_word(old)}, is {_word(new)}"


def _word(value: str) -> str:
    """A value as a sentence has it: in quotes only where it is none of the plain ones."""
    return value if value and value.isprintable() and not set(value) & set(" ,'\"") else repr(value)


def _shown(value: str) -> str:
    return value if len(value) <= _MOST_VALUE else value[: _MOST_VALUE - 1] + "…"


def _path(path: str) -> str:
    return path if path.isprintable() else repr(path)


def _digest(value: str, length: int) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def _kept(value: str) -> str:
    return value if len(value) <= _KEPT_VALUE else _veil(value, _SAME_LENGTH)


def _veiled(name: str, value: str) -> str:
    """A value, or what stands for one that is to be kept secret or is too long."""
    return _veil(value, _HIDDEN) if sounds_secret(name) else _kept(value)


def _veil(value: str, length: int) -> str:
    return f"\0{_digest(value, length)}"


def _is_veiled(value: str) -> bool:
    return value.startswith("\0")
