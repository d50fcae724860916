"""The exception tree: every error that nbcontainers raises on purpose.

::

    NBContainersError(message, hint=...)
    ├── InvalidReference      a name of an image, container or volume that is not well formed
    ├── DockerfileError       .lines: the first and last line at fault, counted from 1
    ├── NotFound              no such image, container, layer or file
    ├── Conflict              the name is taken, or the thing is in use
    ├── IntegrityError        .expected .actual: bytes that are not what their digest or format says
    ├── BuildError            .step .exit_code .output: a RUN that failed
    ├── LaunchError           .stage: the container could not be started
    ├── Detached              the keys to detach were typed: what was attached to goes on by itself
    ├── RegistryError         .status: the answer of a registry
    └── HostError             .tier: this host does not allow it

A message says what was wanted and what was got, in lower case; a hint says what to do.
"""

from __future__ import annotations

import errno
import os
import re

_TAIL = 12  # lines of a failed step's output
# Escapes with their colours, and what else cannot be seen or written: it may not act on the page that shows it.
_UNSEEN = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_NUMBERS = re.compile(r"^\[Errno -?\d+\] | \(_ssl\.c:\d+\)$")


class NBContainersError(Exception):
    """The root of the tree; ``str`` is the message, ``.hint`` says what to do about it (empty where nothing can be said)."""

    shown: tuple[str, ...] = ()
    """The lines that a magic wants shown of it; message and hint where there are none."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """What was wanted and what was got."""
        return str(self.args[0])

    def _render_traceback_(self) -> list[str]:
        """Shown by IPython in place of a Python traceback: the reader did nothing wrong in Python."""
        hint = [f"hint: {self.hint}"] if self.hint else []
        return list(self.shown) or [f"{type(self).__name__}: {_UNSEEN.sub('', self.message)}", *self._evidence(), *hint]

    def _evidence(self) -> list[str]:
        """The lines that stand between the message and the hint."""
        return []


class InvalidReference(NBContainersError):
    """A name that is not well formed."""


class DockerfileError(NBContainersError):
    """A Dockerfile that cannot be built as it stands; ``lines`` is the first and last line at fault, from 1."""

    def __init__(self, message: str, *, lines: tuple[int, int], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.lines = lines


class NotFound(NBContainersError):
    """There is no such thing."""


class Conflict(NBContainersError):
    """The name is taken, or the thing is in use."""


class IntegrityError(NBContainersError):
    """Bytes that are not what their digest, size or format says."""

    def __init__(self, message: str, *, expected: str = "", actual: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.actual = actual


class BuildError(NBContainersError):
    """A build step that failed: ``step`` is its text, ``lines`` its place, ``output`` the end of what it printed."""

    def __init__(
        self, message: str, *, step: str, lines: tuple[int, int], exit_code: int, output: bytes, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.lines = lines
        self.exit_code = exit_code
        self.output = output

    def _evidence(self) -> list[str]:
        """The end of the output, for who watched no step of the build."""
        written = self.output.decode("utf-8", "replace").rstrip().split("\n")[-_TAIL:]
        seen = (line.rstrip("\r").rpartition("\r")[2] for line in written)  # a return overwrites what stood there
        return [f"    {_UNSEEN.sub('', line)}".rstrip() for line in seen] if self.output.strip() else []


class LaunchError(NBContainersError):
    """A container that could not be started; ``exit_code`` is Docker's: 125 set-up, 126 not executable, 127 not found."""

    def __init__(self, message: str, *, stage: str, exit_code: int = 125, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.exit_code = exit_code


class Detached(NBContainersError):
    """The keys that let go of a container were typed: it goes on by itself. An answer, not a failure."""


class RegistryError(NBContainersError):
    """A registry refused or lied; ``status`` is the HTTP status, 0 where there was none.

    ``wait`` are the seconds that it asks for before it is asked again; None if it does not.
    """

    def __init__(self, message: str, *, status: int = 0, hint: str = "", wait: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.wait = wait


class HostError(NBContainersError):
    """This host does not allow what was asked; ``tier`` is its isolation tier (see ``nbcontainers doctor``)."""

    def __init__(self, message: str, *, tier: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tier = tier


def exhausted(error: BaseException) -> HostError | None:
    """The error that front ends show where the kernel has no descriptor left to give, which any call may meet; else None."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
        return None
    if error.errno == errno.ENFILE:
        return HostError("this host has too many files open", hint="'sysctl fs.file-max' says how many may be")
    return HostError(  # nothing is imported here: that would take a descriptor
        f"this process has too many files open: its limit is {os.sysconf('SC_OPEN_MAX')}",
        hint="'ulimit -n' raises it for what is started next, resource.setrlimit(resource.RLIMIT_NOFILE, …) in a notebook",
    )


def reason(error: object) -> str:
    """What an error says, without numbers that say nothing to who reads the words: the kernel's, and a line of a library's source."""
    words = getattr(error, "strerror", None) or str(error)
    return _NUMBERS.sub("", words) or type(error).__name__
