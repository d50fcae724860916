"""Where the command line writes: a terminal, a pipe, or the output area of a notebook's cell."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, TextIO

from ..errors import NBContainersError, NotFound
from ..events import Event, Observer, Output
from .format import fields

_AT_ONCE = 50  # as many as Docker


class Console:
    """Standard output and error as text and as bytes; colours only where a terminal shows them and NO_COLOR is not set.

    ``told`` is where a command tells what it does: standard error, or standard output where that is shown as if something were wrong.
    """

    is_whole_program = True  # signals to this process are meant for what it shows

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, told: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.told = told or self.err
        self.colours = self.err.isatty() and not os.environ.get("NO_COLOR")
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}

    @property
    def width(self) -> int:
        """How many characters a line of a table may have: a terminal's width, and no less than 80."""
        return (
            max(80, shutil.get_terminal_size((120, 24)).columns)
            if self.out.isatty() or "COLUMNS" in os.environ
            else 120
        )

    def print(self, text: str) -> None:
        """A line, or several, on standard output."""
        with written():
            self.out.write(text + "\n")

    def note(self, text: str, *, style: str = "") -> None:
        """A line that the command says of itself. Styles: bold, dim, green; red for errors and yellow for warnings."""
        stream = self.err if style in ("red", "yellow") else self.told
        stream.write(self.styled(text, style) + "\n")
        stream.flush()

    def tell(self, error: NBContainersError) -> None:
        """An error that does not keep the command from what else it has to do."""
        self.note(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), style="red")

    def styled(self, text: str, style: str) -> str:
        """The text in a style, where colours are shown."""
        code = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}.get(style)
        return f"\033[{code}m{text}\033[0m" if code and self.colours else text

    def write(self, event: Event) -> None:
        """A process's output as it came: bytes where the stream takes bytes, else characters."""
        if not isinstance(event, Output):
            return
        stream = self.out if event.stream == "stdout" else self.err
        binary = getattr(stream, "buffer", None)
        if binary is not None:
            stream.flush()
            binary.write(event.data)
            binary.flush()
        else:
            stream.write(self._decoders[event.stream].decode(event.data))

    def transfers(self, *, quiet: bool = False, errors: bool = False, missing: bool = False) -> Observer:
        """Shows what comes from registries and goes there, and all that a build tells; ``errors`` puts it on standard error.

        ``missing`` says that an image is pulled because it is not here.
        """
        from .transfers import TransferProgress

        return TransferProgress(self, quiet=quiet, errors=errors, missing=missing)

    def binary(self) -> int:
        """The descriptor of standard output, for an archive."""
        self.out.flush()
        return self.out.fileno()


def inspect_each(
    words: Iterable[str], look: Callable[[str], dict[str, Any]], form: str | None, console: Console
) -> int:
    """Print what is known of each as one JSON list, or by a template of fields; what is not there is told after it. The exit code."""
    found, missing = list[dict[str, Any]](), list[NotFound]()
    for word in words:
        try:
            found.append(look(word))
        except NotFound as error:
            missing.append(error)
    if len(missing) == 1 and not found and not console.is_whole_program:
        raise missing[0]
    if form and form != "json":
        for item in found:
            console.print(fields(item, form))
    else:
        console.print(json.dumps(found, indent=4, ensure_ascii=False))
    for one in missing:
        console.tell(one)
    return 1 if missing else 0


def warn(sentences: Iterable[str], console: Console) -> None:
    """Say what was asked for a container and is not enforced here."""
    from .text import not_enforced

    for words in not_enforced(sentences):
        console.note(f"warning: {words}", style="yellow")


def each(
    names: Sequence[str],
    console: Console,
    act: Callable[[str], object],
    *,
    missing_ok: bool = False,
    at_once: bool = False,
) -> int:
    """Do something with each name and print what it says it did, or the name.

    The errors of some are told and do not keep the others from it; the code is then 1. With ``missing_ok`` what is not there is
    told, and is no error: so ``rm -f`` can be said again. ``at_once`` is for what waits: nobody waits for another's end.
    """
    failed = False
    results: list[Callable[[], object]] = [functools.partial(act, name) for name in names]
    if at_once and len(names) > 1:
        results = _begun(names, act)
    for name, result in zip(names, results, strict=True):
        try:
            said = result()
            for line in said if isinstance(said, tuple) else (name,):
                console.print(line)
        except NBContainersError as error:
            is_fault = not (missing_ok and isinstance(error, NotFound))
            if is_fault and len(names) == 1 and not console.is_whole_program:
                raise  # a cell has no exit code, and then nothing to say but this
            console.tell(error)
            failed |= is_fault
    return int(failed)


def _begun(names: Sequence[str], act: Callable[[str], object]) -> list[Callable[[], object]]:
    """What gives the result of each, which is being worked for; an interrupted program leaves that as it is."""
    import threading
    from concurrent.futures import Future

    futures: list[Future[object]] = [Future() for _ in names]
    waiting = iter(list(zip(names, futures, strict=True)))  # shared: each is taken by one

    def work() -> None:
        for name, future in waiting:
            try:
                future.set_result(act(name))
            except BaseException as error:
                future.set_exception(error)

    for _ in names[:_AT_ONCE]:
        threading.Thread(target=work, daemon=True).start()
    return [future.result for future in futures]


@contextlib.contextmanager
def archive_target(path: str | None, console: Console) -> Iterator[IO[bytes]]:
    """The file that an archive goes to: a terminal is refused. A file is there when the archive is whole, and not before."""
    if path:
        from ..engine import wholefile  # the engine is not loaded before something is done with it

        with wholefile.written(path) as stream:
            yield stream
        return
    if console.out.isatty():
        raise NBContainersError(
            "an archive is not for a terminal", hint="name a file with -o, or send the output to a pipe"
        )
    with written(), os.fdopen(os.dup(console.binary()), "wb") as stream:
        yield stream


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Raise an NBContainersError where standard output leads to what is full; other errors pass, as that of a closed pipe."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise NBContainersError(
            f"cannot write standard output: {error.strerror}", hint="is there room where it leads to?"
        ) from error
