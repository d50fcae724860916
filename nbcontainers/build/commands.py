"""A RUN's command executed: a container that runs to its end, what it sees of this host, and the end of what it prints."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import BuildError, LaunchError, NBContainersError
from ..events import Event, Observer, Output
from ..linux import smallfiles
from ..oci.runtime import Mount, RuntimeSpec
from ..results import ContainerState
from ..runtime import namefiles
from ..runtime.host import Host
from ..runtime.process import Runtime
from ..runtime.running import Running
from ..store import stopping
from .steps import Node, Run

OUTPUT_KEPT = 64 << 10


class Tail:
    """Tells the observer what a step prints, and keeps the end of it."""

    def __init__(self, number: int, on_event: Observer) -> None:
        self._number = number
        self._on_event = on_event
        self._kept = bytearray()

    def __call__(self, event: Event) -> None:
        """Tell one event, as of the step."""
        if isinstance(event, Output):
            self._kept += event.data
            del self._kept[:-OUTPUT_KEPT]
            event = replace(event, step=self._number)
        self._on_event(event)

    def bytes(self) -> bytes:
        """The end of what was printed."""
        return bytes(self._kept)


def run(
    runtime: Runtime,
    host: Host,
    node: Node,
    step: Run,
    spec: RuntimeSpec,
    rootfs: tuple[Mount, ...],
    folder: Path,
    tail: Tail,
) -> None:
    """Run a container to its end, which is to be good."""
    state = ContainerState(
        id=runtime.new_id(),
        name="",
        image="",
        image_id="",
        command=step.args,
        status="creating",
        created=time.time(),
        tier=host.tier,
    )
    try:
        # Nobody named is root with the groups that list him; by number, for not every image has names.
        running = runtime.start(folder, spec, rootfs, state=state, user=step.user or "0")
    except LaunchError as error:
        message = f"'{node.title}' could not be started: {error.message}"
        code, hint = error.exit_code, _launch_hint(step, error) or error.hint
        raise BuildError(message, step=node.title, lines=node.lines, exit_code=code, output=b"", hint=hint) from error
    code = _attended(running, tail)
    if code:
        ended = running.state
        why = ", for memory ran out" if ended.out_of_memory else f": {ended.error}" if ended.error else ""
        raise BuildError(
            f"'{node.title}' ended with exit code {code}{why}",
            step=node.title,
            lines=node.lines,
            exit_code=code,
            output=tail.bytes(),
            hint=_exit_hint(code) if not ended.error else "build again: it was not the command's own doing",
        )


def _attended(running: Running, tail: Tail) -> int:
    """The exit code of a container, once it has ended; whatever ends this ends the container too."""
    try:
        with stopping.ended_by(running.hang_up):
            code = running.attach(tail)
        stopping.check()
        return code
    except BaseException:
        running.hang_up()
        with contextlib.suppress(NBContainersError, TimeoutError):
            running.wait(10)
        raise
    finally:
        running.close()


def hostname(step: Run) -> str:
    """What a command takes its host for: BuildKit's name for it, unless another is said."""
    return step.hostname or "buildkitsandbox"


def mounts(folder: Path, step: Run) -> tuple[Mount, ...]:
    """What a command sees of this host: its name servers, names, and the script of a heredoc."""
    network: Literal["none", "host"] = "none" if step.network == "none" else "host"
    namefiles.write(folder, hostname(step), network)
    shown = namefiles.mounts(folder, read_only=True)
    found = [mount for mount in shown if mount.destination != "/etc/hostname"]  # BuildKit shows none
    # Names that this host alone knows are none of a step's, whatever its network is: it is to be the same elsewhere.
    known = (f"127.0.0.1\tlocalhost {hostname(step)}", "::1\tlocalhost ip6-localhost ip6-loopback", *step.hosts)
    smallfiles.write(f"{folder}/hosts", "".join(f"{line}\n" for line in known).encode())
    if step.document is not None:
        name, text = step.document
        pipes = folder / "pipes"
        pipes.mkdir(mode=0o755)
        (pipes / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        (pipes / name).chmod(0o755)
        found.append(Mount(destination="/dev/pipes", type="bind", source=str(pipes), options=("bind", "ro")))
    return tuple(found)


def _launch_hint(step: Run, error: LaunchError) -> str:
    if error.exit_code != 127:
        return ""
    return f"is there a {step.args[0]} in the image? FROM scratch has no files at all"


def _exit_hint(code: int) -> str:
    match code:
        case 126:
            return "126: the shell found the command and could not execute it"
        case 127:
            return "127: the shell did not find the command"
        case 137:
            return "137: the command was killed, as when memory runs out"
        case _:
            return "its output says why"
