"""What happens during long work, told as a flat stream of values to one callback.

The callback runs in the caller's thread, so an exception raised in it (KeyboardInterrupt too) stops the work, and a test
passes ``list.append``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .oci.descriptor import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A build step begins. ``number`` counts from 1 to ``total`` over the whole build; ``lines`` is its place in the Dockerfile.

    Steps of several stages go on at the same time, so that a higher number may begin, and end, before a lower one.
    """

    number: int
    total: int
    text: str
    stage: str
    lines: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A build step is done: taken from the cache or executed in ``seconds``; ``layer`` is the diff ID it made, if any.

    ``reason`` says what changed since it was last made (``src/app.py changed``); empty for one that is new or cached.
    """

    number: int
    cached: bool
    seconds: float
    layer: Digest | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStopped:
    """A build step ended without a result after ``seconds``: it failed, or it was ``cancelled`` because another one did."""

    number: int
    seconds: float
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Bytes that a process wrote, as they came: not lines, not always whole characters. ``step`` is the build step's number.

    ``time`` is set where the bytes come from a log: when they were written, in seconds since the epoch.
    """

    data: bytes
    stream: Literal["stdout", "stderr"] = "stdout"
    step: int | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Work that can be counted, in bytes: ``total`` is None where the end is not known; ``step`` is the build step's number."""

    what: str
    done: int
    total: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferStarted:
    """An image is about to come from a registry or to go there; ``name`` is its whole familiar name."""

    name: str
    direction: Literal["pull", "push"]


Phase = Literal[
    "waiting",
    "downloading",
    "downloaded",
    "extracting",
    "pulled",
    "uploading",
    "pushed",
    "mounted",
    "exists",
    "retrying",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Where one layer of it stands: ``done`` of ``total`` bytes in this phase.

    ``layer`` is its digest, or in a push its diff ID, as Docker shows them; ``detail`` is the repository that it was mounted from,
    or the seconds until the next try.
    """

    layer: Digest
    phase: Phase
    done: int = 0
    total: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFinished:
    """An image is wholly here or there, under this digest; ``size`` is its manifest's. A pull is ``fresh`` if it changed anything."""

    name: str
    direction: Literal["pull", "push"]
    digest: Digest
    size: int
    fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know and nothing that stops the work.

    ``line`` is a Dockerfile's, from 1, ``rule`` a build check, ``step`` the number of a build's step.
    """

    message: str
    hint: str = ""
    line: int | None = None
    rule: str = ""
    step: int | None = None

    @property
    def told(self) -> str:
        """The message with the place and the rule before it."""
        return "".join(
            (f"line {self.line}: " if self.line else "", f"{self.rule}: " if self.rule else "", self.message)
        )


Event = (
    StepStarted
    | StepFinished
    | StepStopped
    | Output
    | Progress
    | TransferStarted
    | Transfer
    | TransferFinished
    | Warned
)
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that looks away."""
