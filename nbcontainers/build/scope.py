"""The state of a stage while its instructions are read: environment, arguments and the image's configuration so far."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from ..oci.image import ContainerConfig
from . import gowords
from . import instructions as ins
from .expand import BadExpansion, Expansion, expand
from .source import Range, wrong

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
_PORTS = "a port reads 80, 53/udp or 8000-8010/tcp"
Setting = (
    ins.Arg
    | ins.Env
    | ins.Label
    | ins.User
    | ins.Expose
    | ins.Volume
    | ins.Entrypoint
    | ins.Cmd
    | ins.Shell
    | ins.StopSignal
    | ins.Maintainer
    | ins.Healthcheck
    | ins.Onbuild
)


@dataclass
class Arguments:
    """Build arguments: ``given`` by the caller, ``everywhere`` those that stand before the first FROM and the platform's.

    ``used`` are the given ones that some ARG takes.
    """

    given: Mapping[str, str]
    everywhere: dict[str, str]
    used: set[str] = field(default_factory=set)


@dataclass
class Scope:
    """One stage's state. ``env`` is what RUN and expansions see: the image's environment, ENV and ARG.

    ``declared`` are the arguments in their order with their defaults; ``unset`` collects variables without a value;
    ``has_workdir`` once a WORKDIR has been; ``is_unknown`` where nobody knows what the base image sets.
    """

    config: ContainerConfig
    author: str
    escape: str
    arguments: Arguments
    env: dict[str, str] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    cmd_set: bool = False
    unset: list[tuple[str, Range]] = field(default_factory=list)
    has_workdir: bool = False
    is_unknown: bool = False

    @classmethod
    def begin(cls, config: ContainerConfig, author: str, escape: str, arguments: Arguments) -> Scope:
        """A stage on an image of this configuration; PATH is always set, as BuildKit has it."""
        env = dict(entry.partition("=")[::2] for entry in config.env)
        if "PATH" not in env:
            env["PATH"] = DEFAULT_PATH
            config = replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
        if config.working_dir and not config.working_dir.startswith("/"):
            config = replace(config, working_dir=_absolute("/", config.working_dir))
        return cls(replace(config, on_build=()), author, escape, arguments, env)

    def child(self) -> Scope:
        """A stage that goes on with this one: it inherits arguments too, but no ONBUILD."""
        return Scope(
            replace(self.config, on_build=()),
            self.author,
            self.escape,
            self.arguments,
            dict(self.env),
            dict(self.declared),
            has_workdir=self.has_workdir,
            is_unknown=self.is_unknown,
        )

    @property
    def shell(self) -> tuple[str, ...]:
        """The shell of commands that are not JSON."""
        return self.config.shell or DEFAULT_SHELL

    def expansion(self, text: str, place: Range, *, quotes: bool = True, noted: bool = True) -> Expansion:
        """A word's expansion; what has no value is noted, if it is to be. DockerfileError where it cannot be expanded."""
        try:
            found = expand(text, self.env, escape=self.escape if quotes else "\\", quotes=quotes)
        except BadExpansion as error:
            raise wrong(str(error), place, hint=error.hint) from error
        if noted:
            self.unset += [(name, place) for name in sorted(found.unset) if name not in self.declared]
        return found

    def word(self, text: str, place: Range) -> str:
        """A word with its variables replaced, its quotes and escapes gone."""
        return self.expansion(text, place).text

    def words_of(self, command: ins.Command) -> tuple[str, ...]:
        """A command's words; what is not JSON is given to the shell."""
        return (*self.shell, " ".join(command.words)) if command.shell else command.words

    def run_history(self, words: tuple[str, ...]) -> str:
        """The line of a RUN: the arguments that it saw, and its words."""
        seen = [f"{name}={self.env.get(name, default)}" for name, default in self.declared.items()]
        return " ".join(("RUN", *([f"|{len(seen)}", *seen] if seen else ()), *words, "# buildkit"))

    def workdir(self, path: str) -> str:
        """Go to a working directory; how the configuration has it: an absolute path as it is written."""
        written = path if path.startswith("/") else _absolute(self.config.working_dir, path)
        self.config = replace(self.config, working_dir=written)
        return written

    @property
    def directory(self) -> str:
        """The working directory as a path without detours."""
        return _absolute("/", self.config.working_dir)

    def apply(self, instruction: Setting) -> str:
        """Change the configuration as an instruction says; the answer is its line of the history ("" for none)."""
        place, config = instruction.range, self.config
        match instruction:
            case ins.Arg():
                return "ARG " + " ".join(self.argument(name, default, place) for name, default in instruction.pairs)
            case ins.Env():
                pairs = self.pairs(instruction.pairs, place)
                env = dict(entry.partition("=")[::2] for entry in config.env) | dict(pairs)
                self.config = replace(config, env=tuple(f"{name}={value}" for name, value in env.items()))
                self.env |= dict(pairs)
                return "ENV " + " ".join(f"{name}={value}" for name, value in pairs)
            case ins.Label():
                pairs = self.pairs(instruction.pairs, place)
                self.config = replace(config, labels={**config.labels, **dict(pairs)})
                return "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
            case ins.User():
                user = self.word(instruction.user, place)
                self.config = replace(config, user=user)
                return f"USER {user}"
            case ins.Expose():
                expanded = [self.expansion(port, place, noted=False) for port in instruction.ports]  # as BuildKit
                written = [word for one in expanded for word in one.words]
                ports = [port for word in written for port in _ports(word, place)]
                self.config = replace(config, exposed_ports=tuple(sorted({*config.exposed_ports, *ports})))
                return f"EXPOSE {gowords.listed(ports)}"
            case ins.Volume():
                paths = [self.word(path, place) for path in instruction.paths]
                if not all(paths):
                    raise wrong("VOLUME has an empty path", place, hint="a variable in it has no value")
                self.config = replace(config, volumes=tuple(sorted({*config.volumes, *paths})))
                return f"VOLUME {gowords.listed(paths)}"
            case ins.Entrypoint(command=command):
                words = self.words_of(command)
                self.config = replace(config, entrypoint=words or None, cmd=config.cmd if self.cmd_set else None)
                return f"ENTRYPOINT {gowords.quoted(words)}"
            case ins.Cmd(command=command):
                words = self.words_of(command)
                self.config, self.cmd_set = replace(config, cmd=words or None, args_escaped=True), True
                return f"CMD {gowords.quoted(words)}"
            case ins.Shell(words=words):
                self.config = replace(config, shell=words)
                return f"SHELL {gowords.listed(words)}"
            case ins.StopSignal():
                name = self.word(instruction.signal, place)
                _check_signal(name, place)
                self.config = replace(config, stop_signal=name)
                return f"STOPSIGNAL {name}"
            case ins.Maintainer(name=name):
                self.author = name
                return f"MAINTAINER {name}"
            case ins.Healthcheck(settings=settings):
                self.config = replace(config, healthcheck=settings)
                return f"HEALTHCHECK {gowords.health(settings)}"
            case ins.Onbuild(trigger=trigger):
                self.config = replace(config, on_build=(*config.on_build, trigger))
                return ""
            case _:
                assert_never(instruction)

    def pairs(self, written: tuple[tuple[str, str], ...], place: Range) -> list[tuple[str, str]]:
        """Names and values replaced, each from what held before the instruction."""
        return [(self.word(name, place), self.word(value, place)) for name, value in written]

    def argument(self, name: str, default: str | None, place: Range) -> str:
        """Take an argument: what the caller gave, else its default, else the one from before the first FROM."""
        if name in self.arguments.given:
            self.arguments.used.add(name)
            value: str | None = self.arguments.given[name]
        elif default is not None:
            value = self.word(default, place)
        else:
            value = self.arguments.everywhere.get(name)
        self.declared[name] = value or ""
        if value is None:
            return name
        self.env[name] = value
        return f"{name}={value}"


def _absolute(directory: str, path: str) -> str:
    joined = posixpath.normpath(posixpath.join("/", directory, path))
    return "/" + joined.lstrip("/")


def _ports(word: str, place: Range) -> list[str]:
    """``8000-8002/udp`` as its single ports. A host's address and port before colons are checked and left out, as Docker does."""
    *host, exposed = word.rsplit(":", 2)
    numbers, _, protocol = exposed.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise wrong(f"EXPOSE has the protocol {protocol!r} in {word!r}", place, hint="known are tcp, udp and sctp")
    ports = _port_range(numbers, word, place)
    published = _port_range(host[-1], word, place) if host and host[-1] else ports
    if len(published) != len(ports) != 1:
        raise wrong(f"EXPOSE has two ranges of different lengths in {word!r}", place, hint=_PORTS)
    if len(host) == 2 and host[0]:
        try:
            ipaddress.ip_address(re.sub(r"^\[(.*)\]$", r"\1", host[0]))
        except ValueError:
            raise wrong(f"EXPOSE has {host[0]!r} in {word!r}, which is no address", place, hint=_PORTS) from None
    return [f"{port}/{protocol}" for port in ports]


def _port_range(numbers: str, word: str, place: Range) -> range:
    first, dash, last = numbers.partition("-")
    bounds = [first, last] if dash else [first, first]
    if not all(bound.isascii() and bound.isdecimal() and int(bound) < 65536 for bound in bounds):
        raise wrong(f"EXPOSE has {word!r}", place, hint=_PORTS)
    if int(bounds[1]) < int(bounds[0]):
        raise wrong(f"EXPOSE has the range {word!r} that ends before it begins", place, hint=_PORTS)
    return range(int(bounds[0]), int(bounds[1]) + 1)


def _check_signal(name: str, place: Range) -> None:
    if re.fullmatch(r"[+-]?[0-9]+", name):
        known = int(name) != 0  # any other one is Docker's to refuse, when a container is to be stopped
    else:
        bare = name.upper().removeprefix("SIG")
        known = f"SIG{bare.partition('+')[0].partition('-')[0]}" in signal.Signals.__members__
    if not known:
        raise wrong(f"STOPSIGNAL has {name!r}", place, hint="a signal reads SIGTERM, TERM or 15")
