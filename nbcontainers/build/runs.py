"""RUN, read: the step that it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..oci.runtime import Rlimit
from . import instructions as ins
from .mounts import RunMount
from .parser import Heredoc, heredoc_name
from .scope import Scope
from .source import wrong
from .steps import Run

Network = Literal["default", "host", "none"]
_PIPES = "/dev/pipes/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a build says of all its commands.

    ``network`` is what they have where they say nothing, ``hosts`` are lines for their /etc/hosts, ``proxies`` variables that no
    history knows, ``epoch`` is the time that new files get; ``insecure`` lets them say --security=insecure, and ``hostname`` is
    what they take their host for. ``shm_size`` and ``limits`` are those of the step.
    """

    network: Network
    hosts: tuple[str, ...]
    proxies: tuple[str, ...]
    epoch: int | None
    insecure: bool
    hostname: str
    shm_size: int
    limits: tuple[Rlimit, ...]


def step(scope: Scope, instruction: ins.Run, mounts: Iterable[RunMount], around: Surroundings) -> tuple[Run, str]:
    """The step of a RUN, and its line of the history."""
    network = _network(instruction, around)
    words, document = instruction.command.words, None
    if instruction.heredocs:
        words, document = _script(words[0], instruction.heredocs)
    if instruction.command.shell and document is None:
        words = (*scope.shell, *words)
    elif document is not None:
        words = (*scope.shell, _PIPES + document[0])
    step = Run(
        args=words,
        env=tuple(f"{key}={value}" for key, value in scope.env.items()),
        user=scope.config.user,
        workdir=scope.directory,
        network=network,
        document=document,
        proxies=around.proxies,
        mounts=tuple(mounts),
        hosts=around.hosts,
        epoch=around.epoch,
        arguments=tuple(scope.declared),
        hostname=around.hostname,
        shm_size=around.shm_size,
        limits=around.limits,
        insecure=any((flag.name, flag.value) == ("security", "insecure") for flag in instruction.flags),
    )
    return step, scope.run_history(words)


def _network(instruction: ins.Run, around: Surroundings) -> Network:
    """What a command's flags say of its network; wrong ones are found here, of security and devices too."""
    network = around.network
    for flag in instruction.flags:
        match flag.name, flag.value:
            case "network", "default":
                pass
            case "network", "none" | "host":
                network = "none" if flag.value == "none" else "host"
            case "network", _:
                raise wrong(f"RUN has --network={flag.value}", flag.range, hint="known are default, host and none")
            case "security", "insecure" if not around.insecure:
                raise wrong(
                    "RUN has --security=insecure, which is not allowed",
                    flag.range,
                    hint="--allow security.insecure lends the command every capability and device: see who wrote it",
                )
            case "security", value if value not in ("sandbox", "insecure"):
                raise wrong(f"RUN has --security={value}", flag.range, hint="known are sandbox and insecure")
            case "device", _:
                raise wrong(
                    "RUN has --device, and this engine knows no CDI devices",
                    flag.range,
                    hint="leave it out: the command sees only the usual devices",
                )
    return network


def _script(word: str, heredocs: tuple[Heredoc, ...]) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """What the shell gets of a RUN with heredocs: the document itself where there is nothing else, else all as written.

    A document that begins with ``#!`` is a program of its own.
    """
    if heredoc_name(word) is None:
        parts = [word, *(f"{one.content}{one.name}" for one in heredocs)]
        return ("\n".join(parts),), None
    # BuildKit looks for "#!" before the tabs of <<- are gone: behind one it is no program, but a shell's comment.
    program, text = heredocs[0].content.startswith("#!"), heredocs[0].text
    return ((), (heredocs[0].name, text)) if program else ((text,), None)
