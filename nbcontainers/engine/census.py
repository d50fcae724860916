"""Which containers a person asked for, by Docker's filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from ..errors import NBContainersError, NotFound
from ..oci.image import Image
from ..results import ContainerState, Status
from .container import Container
from .selection import Selection

FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "restarting",
    "since",
    "status",
    "volume",
)


@dataclass(frozen=True, slots=True)
class Census:
    """What is asked; words of one key widen the choice, and keys narrow it."""

    words: Selection
    before: tuple[float, ...]
    since: tuple[float, ...]
    ancestors: tuple[str, ...]
    published: frozenset[str]
    exposed: frozenset[str]

    @classmethod
    def parse(
        cls, filters: Sequence[str], container: Callable[[str], Container], image: Callable[[str], Image]
    ) -> Census:
        """Read the filters; ``container`` and ``image`` find what they name.

        Raises:
            NBContainersError: a filter that is none, or whose value is none.
            NotFound: it names what is not there.
        """
        words = Selection.parse(filters, FILTERS)
        for key, known in (
            (
                "status",
                (*get_args(Status), "removing"),
            ),  # which is none here: what is being removed is not seen any more
            ("health", ("starting", "healthy", "unhealthy", "none")),
            ("is-task", ("true", "false")),
        ):
            for word in words.get(key):
                if word not in known:
                    raise NBContainersError(f"no such {key}: {word!r}", hint=f"one of {', '.join(known)}")
        if any(not re.fullmatch(r"\d+", word) for word in words.get("exited")):
            raise NBContainersError("exited= wants an exit code", hint="such as exited=137")
        return cls(
            words=words,
            before=tuple(container(word).state.created for word in words.get("before")),
            since=tuple(container(word).state.created for word in words.get("since")),
            ancestors=tuple(_id(image, word) for word in words.get("ancestor")),
            published=frozenset(port for word in words.get("publish") for port in _ports("publish", word)),
            exposed=frozenset(port for word in words.get("expose") for port in _ports("expose", word)),
        )

    @property
    def looks_everywhere(self) -> bool:
        """Whether the filters ask for containers that do not run, too."""
        return bool(self.words.get("status") or self.words.get("exited"))

    def holds(self, container: Container, state: ContainerState) -> bool:
        """True if a container is one of those that are asked for."""
        get = self.words.get
        restarting = self.words.truth("restarting")
        return (
            _any(get("id"), state.id.startswith)
            and _any(get("name"), lambda word: is_called(word, state.name))
            and _any(get("status"), lambda word: word == state.status)
            and _any(get("exited"), lambda word: state.status == "exited" and state.exit_code == int(word))
            and _any(get("health"), lambda word: word == (state.health.status if state.health else "none"))
            and _any(get("volume"), lambda word: _has_volume(container, word))
            and _any(get("network"), lambda word: _is_on(container, word))
            and "true" not in get("is-task")  # of a swarm, which there is none of
            and (not (self.published or self.exposed) or self._has_port(container, state))
            and (not self.ancestors or state.image_id in self.ancestors)
            and all(state.created < instant for instant in self.before)
            and all(state.created > instant for instant in self.since)
            and (restarting is None or restarting == (state.status == "restarting"))
            and self.words.has_labels(dict(state.labels))
        )

    def _has_port(self, container: Container, state: ContainerState) -> bool:
        """True if it runs with a port that is asked for: either of the keys widens the choice of the other, as in Docker."""
        if any(f"{number}/{protocol}" in self.published for _, number, _, protocol in container.ports()):
            return True
        return bool(state.pid and self.exposed) and not self.exposed.isdisjoint(container.exposed())


def _ports(key: str, word: str) -> Iterator[str]:
    """The ports that ``80``, ``80-90`` or either with ``/udp`` stands for, each with its protocol."""
    numbers, _, protocol = word.partition("/")
    first, dash, last = numbers.partition("-")
    low, high = (int(text) if re.fullmatch(r"[0-9]{1,5}", text) else -1 for text in (first, last if dash else first))
    if not 0 <= low <= high <= 65535:
        raise NBContainersError(
            f"not a port or range of ports: {key}={word}", hint=f"such as {key}=80, {key}=8000-8010 or {key}=53/udp"
        )
    return (f"{number}/{protocol.lower() or 'tcp'}" for number in range(low, high + 1))


def _id(image: Callable[[str], Image], word: str) -> str:
    """The ID of an image; of one that is not there an empty one, which no container comes from."""
    try:
        return str(image(word).id)
    except NotFound:
        return ""


def is_called(pattern: str, name: str) -> bool:
    """True if a pattern is in a name, with or without the slash that inspect has before it; one that is none is in no name."""
    try:
        return any(re.search(pattern, way) for way in (name, f"/{name}"))
    except re.error:
        return False


def _any(words: Sequence[str], fits: Callable[[str], bool]) -> bool:
    return not words or any(map(fits, words))


def _has_volume(container: Container, word: str) -> bool:
    return any(word in (point.source, point.destination) for point in container.asked.mounts)


def _is_on(container: Container, word: str) -> bool:
    """True if one of its networks has that name, or an ID that begins so."""
    networks = container.inspect()["NetworkSettings"]["Networks"]
    return word in networks or any(place["NetworkID"].startswith(word) for place in networks.values())
