"""Cache keys: equal for what makes the same layer, different for everything else."""

from __future__ import annotations

from dataclasses import replace

from nbcontainers.build.steps import Copy, Run, cache_key
from nbcontainers.oci.descriptor import Digest

BASE, OTHER = Digest.of(b"base"), Digest.of(b"other")
RUN = Run(args=("a", "b"), env=("A=1",), user="", workdir="/", network="host")
COPY = Copy(sources=("a",), documents=(), destination="/", owner="", mode=None)


def test_every_part_of_a_command_counts() -> None:
    """Words, environment, user, folder, network, script, time and the tree below; proxies do not."""
    variants = [
        RUN,
        replace(RUN, args=("a b",)),
        replace(RUN, env=("A=2",)),
        replace(RUN, user="app"),
        replace(RUN, workdir="/x"),
        replace(RUN, network="none"),
        replace(RUN, document=("E", "x")),
        replace(RUN, epoch=0),
    ]
    keys = {cache_key(step, (BASE,)) for step in variants} | {cache_key(RUN, (OTHER,)), cache_key(COPY, (BASE,))}
    assert len(keys) == len(variants) + 2
    assert cache_key(replace(RUN, proxies=("HTTP_PROXY=x",)), (BASE,)) == cache_key(RUN, (BASE,))


def test_every_part_of_a_copy_counts() -> None:
    """Names, documents, destination, owner, mode, time, the tree below and the digests of what is copied."""
    variants = [
        COPY,
        replace(COPY, sources=("b",)),
        replace(COPY, documents=(("a", "b"),)),
        replace(COPY, destination="/a"),
        replace(COPY, owner="1"),
        replace(COPY, mode=0o644),
        replace(COPY, epoch=1),
    ]
    keys = {cache_key(step, (BASE, OTHER)) for step in variants} | {
        cache_key(COPY, (BASE,)),
        cache_key(COPY, (OTHER, BASE)),
    }
    assert len(keys) == len(variants) + 2


def test_a_key_is_the_same_in_every_process() -> None:
    """Keys are shared by all builds of a store, so they never depend on this process."""
    assert cache_key(RUN, (BASE,)) == "sha256:9494ea281c07c4dab7b6ee44735a66fedfdedbc0233101b611a6ad7ff12f2a32"
