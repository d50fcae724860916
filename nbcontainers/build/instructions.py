"""The instructions of a Dockerfile as values: words as they are written, variables not yet replaced.

``Instruction`` is the union of them all; every one has ``text`` (its lines joined, as it is written) and ``range``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..oci.image import Healthcheck as HealthSettings
from .parser import Heredoc
from .source import Range


@dataclass(frozen=True, slots=True)
class Flag:
    """``--name=value`` before the arguments; a flag without a value has ``true``."""

    name: str
    value: str
    range: Range


@dataclass(frozen=True, slots=True)
class Command:
    """What RUN, CMD and ENTRYPOINT say: words to execute, or (``shell``) one text for the shell."""

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What every instruction has: its text and its place."""

    text: str
    range: Range

    @property
    def title(self) -> str:
        """The text on one line, with the keyword in capitals, for people."""
        words = self.text.split()
        return " ".join((words[0].upper(), *words[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Written):
    """A stage begins, on an image, an earlier stage or ``scratch``; ``stage`` is its name in lower case, or empty."""

    image: str
    stage: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Written):
    """Build arguments, each with its default or None."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Written):
    """Variables of the environment, of the build and of the image; ``legacy`` where it reads ``ENV NAME VALUE``."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Written):
    """Labels of the image; ``legacy`` where it reads ``LABEL NAME VALUE``."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Written):
    """A command that is executed in the stage; ``flags`` are --mount, --network, --security and --device as they stand."""

    command: Command
    heredocs: tuple[Heredoc, ...]
    flags: tuple[Flag, ...]

    @property
    def title(self) -> str:
        """The text on one line; of a heredoc its first line stands behind it."""
        title = Written.title.__get__(self)
        if not self.heredocs:
            return str(title)
        lines = self.heredocs[0].content.strip().split("\n")
        return f"{title} ({lines[0].rstrip()}{'...' if len(lines) > 1 else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Written):
    """What COPY and ADD have: sources, documents given in the Dockerfile itself, and a destination.

    ``owner`` and ``mode`` are --chown and --chmod, empty where not given.
    """

    sources: tuple[str, ...]
    documents: tuple[Heredoc, ...]
    destination: str
    owner: str
    mode: str
    flags: tuple[Flag, ...]

    def flag(self, name: str) -> Flag | None:
        """The flag of that name, if it stands there."""
        return next((flag for flag in self.flags if flag.name == name), None)

    @property
    def exclude(self) -> tuple[str, ...]:
        """The patterns of --exclude."""
        return tuple(flag.value for flag in self.flags if flag.name == "exclude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    """Files from the context, or (``origin``: --from) from a stage or an image."""

    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """COPY that also unpacks archives and fetches URLs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Written):
    """The working directory; made where it is not there."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Written):
    """Who runs what follows, and containers of the image."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Written):
    """Ports, as they are written."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Written):
    """Paths that are volumes in containers of the image."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Written):
    """The program of containers of the image."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Written):
    """The default command, or the arguments of the entrypoint."""

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Written):
    """The shell of commands that are not JSON."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Written):
    """The signal that ends a container."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Written):
    """The author."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Written):
    """How to ask a container whether it is well."""

    settings: HealthSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Written):
    """An instruction that is executed when another build begins with the image; ``trigger`` is its text, heredocs included.

    ``fault`` says what will be wrong with it then; it is empty where nothing is.
    """

    trigger: str
    fault: str = ""


Instruction = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Workdir
    | User
    | Expose
    | Volume
    | Entrypoint
    | Cmd
    | Shell
    | StopSignal
    | Maintainer
    | Healthcheck
    | Onbuild
)
