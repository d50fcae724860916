"""RUN --security=insecure: refused unless it is allowed, and then really so."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.errors import DockerfileError, NBContainersError
from nbcontainers.events import Event, Output

SHOW = "grep -E '^(CapEff|Seccomp):' /proc/self/status; test -w /proc/sys/kernel/hostname && echo unlocked"


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        yield made


def test_it_is_refused_with_what_would_allow_it(engine: Engine) -> None:
    """At its line, before anything runs; a word that allows nothing is refused as well. To look at it needs no leave."""
    text = "FROM toolbox\nRUN true\nRUN --security=insecure true\n"
    with pytest.raises(DockerfileError, match="not allowed") as caught:
        engine.build(text)
    assert caught.value.lines == (3, 3)
    assert "--allow security.insecure" in caught.value.hint
    with pytest.raises(NBContainersError, match="nothing to allow"):
        engine.build(text, allow=["security.none"])
    assert engine.lint(text) == ()


def test_it_has_all_that_this_host_can_give(engine: Engine) -> None:
    """Every capability, no filter of system calls, and nothing masked; another command of the same build has not."""
    said: list[Event] = []
    word = secrets.token_hex(4)
    text = f"FROM toolbox\nRUN --security=insecure {SHOW}; true {word}\nRUN {SHOW}; true {word}\n"
    engine.build(text, allow=["security.insecure"], on_event=said.append)
    first, second = (
        b"".join(event.data for event in said if isinstance(event, Output) and event.step == step).decode()
        for step in (2, 3)
    )
    held = int(first.partition("CapEff:")[2].split()[0], 16)
    given = engine.run("toolbox", "grep", "CapEff", "/proc/self/status", privileged=True, rm=True)
    output: list[Event] = []
    given.attach(output.append)
    text = b"".join(event.data for event in output if isinstance(event, Output)).decode()
    assert held == int(text.split()[1], 16)
    if engine.host().tier in ("T0", "T1"):  # else a filter keeps the record of who owns what
        assert "Seccomp:\t0" in first
    assert "Seccomp:\t2" in second
    assert held & ~int(second.partition("CapEff:")[2].split()[0], 16)
    assert "unlocked" not in second
    if engine.host().tier == "T0":  # elsewhere the kernel's parameters are not the container's root's
        assert "unlocked" in first
    kept = engine.build(text := f"FROM toolbox\nRUN --security=insecure true {word}\n", allow=["security.insecure"])
    assert not kept.steps[1].cached
    assert engine.build(text, allow=["security.insecure"]).steps[1].cached
    assert not engine.build(text.replace("--security=insecure ", "")).steps[1].cached
