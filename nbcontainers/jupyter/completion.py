"""The Tab key behind a magic and in a Dockerfile: flags, and the names of images and containers where one is wanted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import NBContainersError

if TYPE_CHECKING:
    from ..cli.flags import Flag, Operand, Verb

IDENTIFIER = "nbcontainers"

_PATHS = (  # what names files of this host: IPython knows these
    "FILE",
    "DOCKERFILE",
    "HOST:INSIDE[:ro,idmap]",
    "HOST[:INSIDE][:rwm]",
    "NAME=WHERE",
    "id=NAME,src=FILE",
    "type=TYPE,dest=WHERE",
    "type=TYPE,…",
    "type=TYPE,…|IMAGE",
    "type=…,source=…,target=…",
    "PROGRAM",
    "CONTEXT",
    "SOURCE",
    "TARGET",
)
_BRACED = re.compile(r"(?<!\{)\{\w*\Z")  # a variable of Python, which IPython knows
_CLOSED = re.compile(r"[a-z]+(\|[a-z]+)*")  # the metavar of a flag that says all its values
_VALUES = {
    "--format": ("table", "json"),
    "--ipc": ("private", "shareable", "none", "host"),
    "--pid": ("host",),
    "--cgroupns": ("private", "host"),
    "--userns": ("auto", "host", "keep-id"),
    "--restart": ("no", "on-failure", "always", "unless-stopped"),
    "--attach": ("stdin", "stdout", "stderr"),
    "--type": ("container", "image"),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What the ``fragment`` at the cursor may become; ``alone`` where nothing that others know of is of use there."""

    fragment: str
    words: tuple[str, ...] = ()
    alone: bool = True


class _Nothing(list[Any]):
    """No completion, and an answer all the same: IPython lets a matcher keep the others away only if it has a length."""

    def __len__(self) -> int:
        return 1


def complete(text: str, line: str) -> Offer:
    """What may stand at the cursor.

    ``text`` is the cell up to the cursor, ``line`` the cursor's line up to there.
    """
    with contextlib.suppress(NBContainersError, OSError):
        if line.lstrip().startswith("%"):
            words = line.split()
            symbol = "" if line[-1:].isspace() else words.pop()
            found = _magic(words[0].lstrip("%"), words[1:], symbol) if words and not _BRACED.search(symbol) else None
            return Offer(symbol, tuple(found or ()), alone=found is not None)
        first, newline, rest = text.lstrip("\n").partition("\n")
        if newline and first.split()[:1] == ["%%dockerfile"]:
            from . import dockerfile

            offered = dockerfile.complete(rest, _images)
            return Offer(offered.fragment, offered.words)
    return Offer("", alone=False)


def _magic(magic: str, before: list[str], symbol: str) -> list[str] | None:
    """What may follow the words of a magic; None where others know it: the magic is not ours, or a path is wanted."""
    from ..cli.verbs import GROUPS, VERBS, find, members
    from . import words

    if magic == "nbc":
        if not before:
            return _beginning([*(name for name in VERBS if " " not in name), *GROUPS], symbol)
        if len(before) == 1 and before[0] in GROUPS:
            return _beginning(members(before[0]), symbol)
        verb, rest = find(before)
        return _words(verb, list(rest), symbol) if verb else []
    return _words(words.MAGICS[magic], before, symbol) if magic in words.MAGICS else None


def _words(verb: Verb, before: list[str], symbol: str) -> list[str] | None:
    valued = {name: flag for flag in verb.flags if flag.metavar for name in flag.names}
    operands = [
        word
        for place, word in enumerate(before)
        if not word.startswith("-") and (place == 0 or before[place - 1] not in valued)
    ]
    if any(operand.count == "rest" for operand in verb.operands) and operands:
        return []  # the container's own command
    if before and before[-1] in valued:
        return _chosen(_of_flag(verb, valued[before[-1]]), symbol)
    name, equals, value = symbol.partition("=")
    if equals and name in valued:
        found = _chosen(_of_flag(verb, valued[name]), value)
        return None if found is None else [f"{name}={word}" for word in found]
    if symbol.startswith("-"):
        return _beginning((flag.long for flag in verb.flags if not flag.is_refused), symbol)
    if not verb.operands:
        return []
    return _chosen(_of_operand(verb, verb.operands[min(len(operands), len(verb.operands) - 1)]), symbol)


def _of_flag(verb: Verb, flag: Flag) -> Iterable[str] | None:
    """What the value of a flag may be, as far as there is anything to choose from; None for a path."""
    if flag.metavar in _PATHS:
        return None
    if flag.is_refused:
        return ()
    if flag.long in ("--network", "--net"):
        return dict.fromkeys(("none", "host", "bridge", *_networks()))
    if flag.long == "--volumes-from":
        return _containers()
    if flag.long == "--format" and verb.name.endswith("inspect"):
        return ("json",)
    if _CLOSED.fullmatch(flag.metavar):
        return flag.metavar.split("|")
    return _VALUES.get(flag.long, ())


def _of_operand(verb: Verb, operand: Operand) -> Iterable[str] | None:
    """The names that there are of what is wanted; None for a path."""
    if operand.name in _PATHS:
        return None
    if verb.name in ("network create", "volume create"):
        return ()  # a new name
    found = [name for named in _NAMED.get(operand.name, ()) for name in named()]
    if verb.name == "network rm":
        from ..engine.networks import BUILT_IN

        return [name for name in found if name not in BUILT_IN]
    return found


def _chosen(words: Iterable[str] | None, symbol: str) -> list[str] | None:
    return None if words is None else _beginning(words, symbol)


def _beginning(names: Iterable[str], symbol: str) -> list[str]:
    return [name for name in names if name.startswith(symbol)]


def _images() -> list[str]:
    from .session import engine

    return [image.name for image in engine().images() if image.reference]


def _containers() -> list[str]:
    from .session import engine

    return [container.name for container in engine().containers(all=True)]


def _networks() -> list[str]:
    from .session import engine

    return [network.name for network in engine().networks()]


def _volumes() -> list[str]:
    from .session import engine

    return [volume.name for volume in engine().volumes()]


_NAMED: dict[str, tuple[Callable[[], list[str]], ...]] = {
    "IMAGE": (_images,),
    "BEFORE": (_images,),
    "AFTER": (_images,),
    "CONTAINER": (_containers,),
    "NAME": (_images, _containers),
    "NETWORK": (_networks,),
    "VOLUME": (_volumes,),
}


def register(shell: Any) -> None:
    """Complete behind our magics."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]  # IPython types it in part
    def matcher(context: Any) -> dict[str, Any]:
        above = context.full_text.split("\n")[: context.cursor_line]
        offer = complete("\n".join([*above, context.text_until_cursor]), context.text_until_cursor)
        found = [SimpleCompletion(text=word, type="magic") for word in offer.words]
        return {
            "completions": found or (_Nothing() if offer.alone else []),
            "matched_fragment": offer.fragment,
            "suppress": offer.alone,  # what Python's own completers know of such a line is of no use
            "ordered": True,
        }

    unregister(shell)
    shell.Completer.custom_matchers.append(matcher)


def unregister(shell: Any) -> None:
    """Take ``register`` back."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != IDENTIFIER]
