"""The verbs of this host: what it allows, and the image made of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from importlib import metadata

from ..engine import Engine
from ..oci.descriptor import Platform
from . import format as form
from . import text
from .console import Console
from .flags import FORMAT, Command, Flag
from .steps import BuildProgress


def toolbox(engine: Engine, values: Namespace, console: Console) -> int:
    """Make the offline base image."""
    image = engine.toolbox(getattr(values, "with"), on_event=BuildProgress(console))
    console.note(f"{image.name}: {form.size(image.size)} in {len(image.layers)} layers", style="green")
    console.print(str(image.id))
    return 0


def doctor(engine: Engine, values: Namespace, console: Console) -> int:
    """What this host allows, and what it cannot enforce."""
    console.print(form.result(engine.host(), values.format, text.host_report))
    return 0


def version(engine: Engine, values: Namespace, console: Console) -> int:
    """The version, and what it runs on."""
    item = {
        "Version": metadata.version("nbcontainers"),
        "Python": sys.version.split()[0],
        "Platform": str(Platform.host()),
    }
    if values.format:
        console.print(form.rows([item], values.format, [(key, key) for key in item]))
    else:
        console.print(f"nbcontainers {item['Version']} (Python {item['Python']}, {item['Platform']})")
    return 0


VERBS = (
    Command(
        name="toolbox",
        act=toolbox,
        summary="make the offline base image from this host's own programs",
        flags=(Flag(names=("--with",), metavar="PROGRAM", many=True, help="a further program: its name or path"),),
    ),
    Command(name="doctor", act=doctor, summary="what this host allows, and what it cannot enforce", flags=(FORMAT,)),
    Command(name="version", act=version, summary="print the version", flags=(FORMAT,)),
)
