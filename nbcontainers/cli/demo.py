"""``nbcontainers demo``: the whole engine in one command, on nothing but this host."""

from __future__ import annotations

import os
import shlex
import tempfile
from argparse import Namespace
from pathlib import Path

from ..engine import Container, Engine
from ..events import Event, Output
from ..results import Usage
from . import text
from .console import Console
from .flags import Command
from .steps import BuildProgress

IMAGE = "nbcontainers-demo"
DOCKERFILE = """\
FROM toolbox
LABEL org.opencontainers.image.title="a first image"
ENV GREETING="hello from a container"
WORKDIR /app
COPY greet.py ./
RUN python3 -c 'print("built inside, before any container runs")' | tee built.txt
RUN mkdir data && seq 1 1000 > data/numbers.txt
CMD ["python3", "greet.py"]
"""
PROGRAM = """\
import os
import sys
from pathlib import Path

print(os.environ["GREETING"], "- process", os.getpid(), "on host", os.uname().nodename)
numbers = Path("data/numbers.txt").read_text().split()
Path("sum.txt").write_text(f"{sum(map(int, numbers))}\\n")
Path("built.txt").write_text("changed by a container\\n")
Path("data/numbers.txt").unlink()
print("the sum of", len(numbers), "numbers is", Path("sum.txt").read_text().strip(), flush=True)
sys.stdin.read()
"""
LIMITS = {"memory": "128m", "cpus": 0.5, "pids_limit": 32}


def demo(engine: Engine, values: Namespace, console: Console) -> int:
    """Build an image, run it with limits, and show the layers, the changes, the usage and what this host can enforce."""
    host = engine.host()
    console.print(console.styled(f"This host: {host.tier}, {host.summary}", "bold"))

    heading(console, "1. A Dockerfile becomes an image")
    console.print("\n".join(f"    {line}" for line in DOCKERFILE.splitlines()) + "\n")
    with tempfile.TemporaryDirectory(prefix="nbcontainers-demo-") as folder:
        Path(folder, "greet.py").write_text(PROGRAM)
        result = engine.build(DOCKERFILE, context=folder, tag=IMAGE, on_event=BuildProgress(console))
    console.print(f"{result.image.name} {result.image.id.short}, built in {result.seconds:.2f} s")

    heading(console, "2. An image is a stack of layers that never change")
    console.print(text.layer_stack(engine.layers(result.image), width=console.width))

    heading(console, "3. A container is a process with a view and limits of its own")
    words = f"run -i -m {LIMITS['memory']} --cpus {LIMITS['cpus']:g} --pids-limit {LIMITS['pids_limit']} {IMAGE}"
    console.print(f"$ nbcontainers {words}")
    container = engine.run(result.image, interactive=True, memory="128m", cpus=0.5, pids_limit=32)
    try:
        usage = sample_then_end(container, console)
        heading(console, "4. What it used, of what it was allowed")
        console.print(text.usage([(container.state, usage, None)]))
        heading(console, "5. What it changed lies in a layer of its own; the image is as it was")
        for change in container.changes():
            console.print(f"{change.kind:>9}  {change.path}")
    finally:
        container.remove(force=True)

    heading(console, "6. What this host cannot enforce")
    console.print(
        "\n".join(f"- {words}" for words in text.not_enforced(host.not_enforced))
        or "Nothing: all of it was enforced by the kernel."
    )

    heading(console, "Next")
    notebooks = Path(__file__).resolve().parents[2] / "notebooks" / "en"
    where = shlex.quote(str(notebooks)) if notebooks.is_dir() else "notebooks/en"
    following = {
        f"jupyter lab {where}": "the course, one notebook after another",
        f"nbcontainers run -it --rm {IMAGE} sh": "a shell in what you just built",
        "nbcontainers --help": "what else there is",
    }
    width = max(map(len, following))
    console.print("\n".join(f"    {command:<{width}}    {what}" for command, what in following.items()))
    return 0


def sample_then_end(container: Container, console: Console) -> Usage:
    """Show the container's output; when the program has done its work and waits on standard input, measure it and let it end."""
    samples: list[Usage] = []
    reading, writing = os.pipe()

    def show(event: Event) -> None:
        console.write(event)
        if isinstance(event, Output) and b"the sum of" in event.data:
            samples.append(container.usage())
            os.close(writing)  # end of file: the program goes on

    with open(reading, "rb", buffering=0) as stdin:
        container.attach(show, stdin=stdin)
    return samples[0]


def heading(console: Console, title: str) -> None:
    """A line that stands out."""
    console.print("\n" + console.styled(title, "bold") + "\n" + "─" * len(title))


VERBS = (Command(name="demo", act=demo, summary="build an image, run a container, and show what both are made of"),)
