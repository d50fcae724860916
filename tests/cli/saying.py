"""The command line in this process: what it prints, and images for it."""

from __future__ import annotations

import io

from nbcontainers import Engine
from nbcontainers.cli.console import Console
from nbcontainers.cli.main import run
from nbcontainers.oci.reference import Reference
from tests.store.random_images import random_image


def said(engine: Engine, words: str, *, code: int = 0) -> str:
    """What the command line prints; in the case of an error that."""
    out, err = io.StringIO(), io.StringIO()
    assert run(words.split(), engine=engine, console=Console(out, err)) == code, err.getvalue()
    return out.getvalue() if not code else out.getvalue() + err.getvalue()


def tag(engine: Engine, seed: int, *names: str) -> str:
    """Make a random image with these names; its ID."""
    with engine.store.lease():
        made = random_image(engine.store, seed, shared=1)
        for name in names:
            engine.store.images.tag(made, Reference.parse(name))
    return made.id
