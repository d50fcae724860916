"""The verbs of this host: what it allows, and the image made of it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from argparse import Namespace
from collections import Counter
from importlib import metadata
from typing import Any

from ..engine import Engine
from ..oci.descriptor import Platform
from . import format as form
from . import text
from .console import Console
from .flags import FORMAT, Command, Flag
from .images import size_of
from .steps import BuildProgress


def toolbox(engine: Engine, values: Namespace, console: Console) -> int:
    """Make the offline base image."""
    image = engine.toolbox(getattr(values, "with"), on_event=BuildProgress(console))
    console.note(f"{image.name}: {form.size(size_of(engine, image))} in {len(image.layers)} layers", style="green")
    console.print(str(image.id))
    return 0


def doctor(engine: Engine, values: Namespace, console: Console) -> int:
    """What this host allows, and what it cannot enforce."""
    console.print(form.result(engine.host(), values.format, text.host_report))
    return 0


def info(engine: Engine, values: Namespace, console: Console) -> int:
    """What there is in the store, and on what machine, by the keys of Docker's."""
    item = about(engine)
    if values.format:
        console.print(form.rows([item], values.format, [(key, key) for key in item]))
        return 0
    lines = [
        f"Containers: {item['Containers']}",
        *(f" {state}: {item[f'Containers{state}']}" for state in ("Running", "Paused", "Stopped")),
        f"Images: {item['Images']}",
        f"Server Version: {item['ServerVersion']}",
        f"Storage Driver: {item['Driver']}",
        f"Root Dir: {text.printable(item['DockerRootDir'])}",
        f"Isolation Tier: {item['Tier']}",
        f"Cgroups: {item['Cgroups']}",
        f"Kernel Version: {item['KernelVersion']}",
        f"Operating System: {item['OperatingSystem']}",
        f"OSType: {item['OSType']}",
        f"Architecture: {item['Architecture']}",
        f"CPUs: {item['NCPU']}",
        f"Total Memory: {form.binary_size(item['MemTotal'])}",
        f"Name: {item['Name']}",
    ]
    console.print("\n".join(lines))
    for sentence in item["Warnings"]:
        console.note(f"WARNING: {sentence}", style="yellow")
    return 0


def about(engine: Engine) -> dict[str, Any]:
    """The numbers behind ``info``: the keys are those of Docker's GET /info where there is one."""
    states = Counter(container.state.status for container in engine.containers(all=True))
    paused, running = states["paused"], states["running"] + states["restarting"]
    host = engine.host()
    release: dict[str, str] = {}
    with contextlib.suppress(OSError):  # a machine without /etc/os-release
        release = platform.freedesktop_os_release()
    return {
        "Containers": states.total(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": states.total() - running - paused,
        "Images": len({image.id for image in engine.images()}),
        "Driver": engine.store.snapshots.name,
        "DockerRootDir": host.store,
        "Tier": f"{host.tier} ({host.summary})",
        "Cgroups": host.cgroups,
        "KernelVersion": host.kernel,
        "OperatingSystem": release.get("PRETTY_NAME", platform.system()),
        "OSType": "linux",
        "Architecture": platform.machine(),
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": platform.node(),
        "ServerVersion": metadata.version("nbcontainers"),
        "Warnings": list(host.not_enforced),
    }


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
    Command(name="info", act=info, summary="what is in the store, and on what machine", flags=(FORMAT,)),
    Command(name="version", act=version, summary="print the version", flags=(FORMAT,)),
)
