"""The magics. Nothing of the engine is imported before one is used, and no line is expanded by IPython."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)

from ..errors import NBContainersError
from .calm import Interrupted, calm, told

if TYPE_CHECKING:
    from argparse import Namespace


Scope = Mapping[str, Any] | None
"""The variables of where a magic stands, as IPython passes them; None where it is called as a method."""


@magics_class
class ContainerMagics(Magics):
    """Images and containers in a notebook."""

    def _read(self, magic: str, line: str, local_ns: Scope) -> Namespace:
        from . import words

        return words.read(magic, line, self._seen(local_ns))

    @property
    def _variables(self) -> dict[str, Any]:
        return self.shell.user_ns if self.shell is not None else {}

    def _seen(self, local_ns: Scope) -> Mapping[str, Any]:
        """The variables that Python would see where the magic stands: those of a function before those of the notebook."""
        return ChainMap(dict(local_ns or {}), self._variables)

    def _bind(self, values: Namespace, result: object) -> None:
        name = getattr(values, "as", None)
        if name:
            self._variables[name] = result  # the notebook's, also in a function, whose own nobody else can set

    @no_var_expand
    @cell_magic
    @needs_local_scope
    @told
    def dockerfile(self, line: str, cell: str, local_ns: Scope = None) -> None:
        """Build an image from the Dockerfile in this cell, and show its steps and layers.

        %%dockerfile [-t NAME] [--build-arg NAME=VALUE] [--target STAGE] [--no-cache] [--as NAME]

        COPY reads from the working directory, of which only what COPY and ADD name is read. The Tab key completes instructions, flags,
        stages, images and files. --as NAME binds the result to a variable; its ``image`` is the image.

        Examples:
            %%dockerfile -t hello
            FROM toolbox
            COPY greet.py /app/
            CMD ["python3", "/app/greet.py"]

        "%nbc build --help" lists every flag.

        """
        from ..cli.build import arguments, options
        from . import show
        from .progress import Record
        from .session import engine

        values = self._read("dockerfile", line, local_ns)
        record = Record(values.tag[0] if values.tag else "", cell)
        view = show.build(record)
        try:
            result = engine().build(
                cell,
                context=Path.cwd(),
                tag=values.tag,
                args=arguments(values.build_arg),
                target=values.target or "",
                no_cache=values.no_cache,
                pull=values.pull,
                on_event=view.take,
                **options(values),
            )
            record.finish(result, engine().layers(result.image) if result.stored else None)
        except NBContainersError as error:
            record.fail(error)
            raise calm(error, cell, seen=view.tells_failure) from None
        except KeyboardInterrupt:
            record.stop()
            raise Interrupted("the build was stopped; what it had finished is in the cache") from None
        finally:
            if record.phase == "running":
                record.stop()  # an error that is no one's on purpose: it is raised as it is
            view.finish()
        self._bind(values, result)

    @no_var_expand
    @line_cell_magic
    @needs_local_scope
    @told
    def run_container(self, line: str, cell: str | None = None, local_ns: Scope = None) -> None:
        """Run a container and show its output below the cell; the interrupt button stops it.

        %run_container [FLAGS] IMAGE [COMMAND …]

        The flags are docker run's, and two more: --replace takes a name over from a container that has it, --as NAME binds the
        container to a variable. {name} as a whole word before the image, or behind an = as in -e A={name}, is the variable of that
        name. As a cell magic the cell is the script on standard input.

        Examples:
            %run_container --rm toolbox ls /
            %run_container -d --name worker -m 64m --cpus 0.5 hello

            %%run_container --rm toolbox sh
            echo "this cell is the script"

        "%run_container --help" lists every flag.

        """
        from ..cli.creating import run_options
        from .running import run
        from .session import engine

        values = self._read("run_container", line, local_ns)
        if values.detach and cell is not None:
            raise NBContainersError(
                "both -d and a script", hint="a detached container has no one to read standard input from"
            )
        if values.tty and cell is not None:
            # its end cannot be told: ^D is one only for a program that reads by lines and at that moment, no Python and no bash
            raise NBContainersError(
                "both -t and a script: a terminal has no end that every program sees",
                hint="leave out -t, or the script: a command alone may have a terminal",
            )
        if values.interactive and cell is None:
            raise NBContainersError(
                "-i without a script", hint="begin the cell with %%run_container and write the input below it"
            )
        options = run_options(values)
        options["interactive"] = cell is not None
        run(
            engine(),
            values.image,
            values.command,
            options,
            detach=values.detach,
            script=None if cell is None else cell.encode(),
            bind=functools.partial(self._bind, values),
        )

    @no_var_expand
    @cell_magic
    @needs_local_scope
    @told
    def sandbox(self, line: str, cell: str, local_ns: Scope = None) -> None:
        """Run a cell that is not trusted, and leave nothing of it.

        %%sandbox [FLAGS] [COMMAND …]

        The cell is Python, or what COMMAND reads from standard input. It has no network, no capability, and nothing to write to but
        /tmp; memory, processes, processors, time and output have limits that docker run's flags (and --timeout, --output-limit) change.
        --image IMAGE is what it runs in (toolbox), --as NAME binds the container to a variable.

        Examples:
            %%sandbox
            print(sum(range(10)))

            %%sandbox --timeout 5 -m 128m sh
            ls -l /tmp

        "%nbc run --help" lists every flag.

        """
        from ..cli.creating import CREATE, run_options
        from .running import run
        from .session import engine

        values = self._read("sandbox", line, local_ns)
        known = [flag for flag in CREATE if hasattr(values, flag.key)]
        options = run_options(values, known)
        options |= {"profile": "sandbox", "rm": True, "interactive": True}
        run(
            engine(),
            values.image,
            values.command or ("python3", "-"),
            options,
            script=cell.encode(),
            bind=functools.partial(self._bind, values),
        )

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def containers(self, line: str, local_ns: Scope = None) -> None:
        """List the running containers, or with -a all of them.

        %containers [-a] [-f KEY=VALUE] [-l] [-n N] [-s] [-q] [--format FORMAT] [--as NAME]

        --as NAME binds those that are listed.

        Examples:
            %containers -a
            %containers --format '{{.Names}} {{.Status}}'

        "%containers --help" lists every flag.

        """
        from . import listings

        values = self._read("containers", line, local_ns)
        self._bind(values, listings.containers(values))

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def images(self, line: str, local_ns: Scope = None) -> None:
        """List the images of the store, or those of a name or pattern.

        %images [-f KEY=VALUE] [--digests] [-q] [--format FORMAT] [--as NAME] [REPOSITORY]

        --as NAME binds those that are listed.

        Examples:
            %images
            %images --format '{{.Repository}} {{.Size}}'

        "%images --help" lists every flag.

        """
        from . import listings

        values = self._read("images", line, local_ns)
        self._bind(values, listings.images(values))

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def layers(self, line: str, local_ns: Scope = None) -> None:
        """Show the layers of an image: what each holds, what is wasted, which other images share it.

        %layers IMAGE [--format FORMAT] [--as NAME]

        The instruction, the size of its files and of its compressed blob, files added, changed and removed, bytes that later layers replace
        or remove, and how efficient the whole is, as dive counts it.

        Examples:
            %layers hello
            %layers hello --as stack

        "%layers --help" lists every flag.

        """
        from ..cli import format as form
        from . import show
        from .session import engine

        values = self._read("layers", line, local_ns)
        stack = engine().layers(values.image)
        if values.format:
            _console().print(form.result(stack, values.format, str))
        else:
            show.display(stack)
        self._bind(values, stack)

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def image_diff(self, line: str, local_ns: Scope = None) -> None:
        """Show in what two images differ: files, packages and settings.

        %image_diff BEFORE AFTER [-a] [--format FORMAT] [--as NAME]

        Folders add up what is in them, and are opened with a click or the arrow keys. Packages are those of dpkg, apk, rpm, Python and
        conda. -a prints every file on a line of its own.

        Examples:
            %image_diff toolbox hello
            %image_diff hello:1 hello:2 --format json

        "%image_diff --help" lists every flag.

        """
        from ..cli import difference as shown
        from ..cli import format as form
        from . import show
        from .session import engine

        values = self._read("image_diff", line, local_ns)
        found = engine().image_diff(values.before, values.after)
        if values.format or values.all:
            as_text = functools.partial(shown.text, everything=values.all)
            _console().print(form.result(found, values.format, as_text, shown.json_of))
        else:
            show.display(found)
        self._bind(values, found)

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def cgroups(self, line: str, local_ns: Scope = None) -> None:
        """Show what containers use, live, while other cells run: processor, memory and processes against their limits.

        %cgroups [CONTAINER …]

        Without names it shows those that run and those that start from now on; one that has ended says why.

        Examples:
            %cgroups
            %cgroups worker

        "%cgroups --help" says the same.

        """
        from .live import usage
        from .session import engine

        usage(engine(), self._read("cgroups", line, local_ns).container)

    @no_var_expand
    @line_magic
    @needs_local_scope
    @told
    def nbc(self, line: str, local_ns: Scope = None) -> None:
        """Any verb of the command line: %nbc VERB …; %nbc alone lists them.

        The Tab key completes verbs, flags, images and containers.

        Examples:
            %nbc doctor
            %nbc logs worker
            %nbc history hello

        "%nbc VERB --help" lists a verb's flags.

        """
        from . import verbs

        verbs.act(line, self._seen(local_ns))


def _console() -> Any:
    from .running import CellConsole

    return CellConsole()


def register(shell: Any) -> None:
    """Make the magics and the forms of results known to a running IPython."""
    from . import completion, show

    shell.register_magics(ContainerMagics)
    show.register(shell)
    completion.register(shell)


def unregister(shell: Any) -> None:
    """Take the magics away, and close the engine."""
    from . import completion, session, show

    completion.unregister(shell)
    for kind in ("line", "cell"):
        for name in ContainerMagics.magics[kind]:
            shell.magics_manager.magics[kind].pop(name, None)
    show.unregister(shell)
    session.close()
