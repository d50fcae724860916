"""Instructions that change a configuration and no files: the ``--change`` of commit and import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..oci.image import ContainerConfig
from . import grammar, parser
from . import instructions as ins
from .scope import Arguments, Scope
from .source import wrong

ALLOWED = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR"


def amend(config: ContainerConfig, lines: Sequence[str]) -> ContainerConfig:
    """The configuration after some instructions, each as a Dockerfile writes it.

    Raises:
        DockerfileError: an instruction is not well formed, or does more than to change a configuration.

    """
    if not lines:
        return config
    syntax = parser.parse("\n".join(lines))
    scope = Scope(
        config, "", syntax.escape, Arguments({}, {}), env=dict(entry.partition("=")[::2] for entry in config.env)
    )
    for instruction in grammar.read(syntax):
        place = instruction.range
        match instruction:
            case ins.Workdir():
                scope.workdir(scope.word(instruction.path, place))
            case ins.From() | ins.Run() | ins.Copy() | ins.Add() | ins.Arg() | ins.Maintainer():
                raise wrong(f"'{instruction.title}' is no change of a configuration", place, hint=f"use {ALLOWED}")
            case _:
                scope.apply(instruction)
    return replace(scope.config, args_escaped=config.args_escaped)  # which only BuildKit's CMD sets
