"""What a container calls its files, programs and labels does nothing to the terminal that shows it."""

from __future__ import annotations

import io

from nbcontainers import Engine
from nbcontainers.cli import main
from nbcontainers.cli.console import Console

EVIL = "\x1b]0;title\x07\x1b[31m\x9b31m"


SHOWN = (["ps", "--no-trunc"], ["ps", "--format", "{{.Labels}}"], ["top", "evil"], ["diff", "evil"])


def test_escapes_are_written_out(engine: Engine) -> None:
    """As ``\\x1b``, where docker hands them on."""
    script = 'touch "/tmp/$1"; echo ready; read line'
    container = engine.run(
        "toolbox", "sh", "-c", script, EVIL, EVIL, name="evil", labels={"evil": EVIL}, interactive=True, detach=True
    )
    while not any(True for _ in container.logs()):
        pass
    for words in SHOWN:
        out, err = io.StringIO(), io.StringIO()
        assert main.run(words, engine=engine, console=Console(out, err)) == 0
        assert "\x1b" not in out.getvalue() + err.getvalue()
        assert "\x9b" not in out.getvalue()
        assert "\\x1b]0;title" in out.getvalue(), words
