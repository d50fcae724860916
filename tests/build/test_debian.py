"""Where containers have a single id, a Dockerfile of a real Debian builds unchanged, and gives the tree that root would get."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers.engine import Engine
from nbcontainers.events import Event, Output
from nbcontainers.oci.image import Image
from nbcontainers.runtime.host import TIER
from nbcontainers.store import unpacked
from tests import debian

SECRET = "what no layer holds"
DOCKERFILE = """
FROM debian:test AS wheels
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=token,required \
    pip download --quiet --dest /wheels iniconfig && test "$(cat /run/secrets/token)" = "what no layer holds" && \
    echo wheels made
FROM debian:test
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false -qq update && \
    apt-get install -qq --yes --no-install-recommends openssh-client sudo >/dev/null
RUN useradd --create-home ann && adduser --quiet --disabled-password --gecos Bob bob && groupadd --gid 777 crew && \
    usermod --append --groups crew ann && chown -R bob:crew /home/bob && chmod 2750 /home/bob
RUN su - ann -c 'id; touch mine; mkdir deep; ln -s mine deep/link; stat -c %U:%G mine deep deep/link' && \
    echo 'ann ALL=(bob) NOPASSWD: ALL' > /etc/sudoers.d/ann && su ann -c 'sudo -u bob id -un' && \
    mkdir /srv/app && ln -s nowhere /srv/app/link && mkfifo /srv/app/pipe && \
    mknod /srv/app/disk b 8 1 && chgrp disk /srv/app/disk && tar -C /home -cf - . | tar -C /srv/app -xpf -
RUN --mount=from=wheels,source=/wheels,target=/wheels \
    pip install --quiet --break-system-packages --root-user-action=ignore --no-index --find-links /wheels iniconfig && \
    python3 -c 'import iniconfig; print(iniconfig.__name__)' && rm -rf /var/log /var/cache/*
COPY --chown=ann:crew ca.crt /srv/app/
RUN chown -h bob:crew /srv/app/link && chown ann /srv/app/pipe
USER ann
WORKDIR /srv/work
RUN id -un && touch here && stat -c %U:%G . here /srv/app/ca.crt /etc/shadow /usr/bin/ssh-agent
"""


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates that this host trusts, so that pip gets through a proxy that it may stand behind."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "ca.crt")
    (folder / "ca.crt").chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def single(module_path: Path, ingredients: Path) -> Iterator[tuple[Engine, Image, str]]:
    """The image as it is built with a single id, and what was printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TIER, "T2")
        with Engine(module_path) as engine:
            image, printed = built(engine, ingredients)
            yield engine, image, printed


def built(engine: Engine, ingredients: Path) -> tuple[Image, str]:
    debian.load(engine)
    events: list[Event] = []
    given = {"token": SECRET.encode()}
    result = engine.build(DOCKERFILE, context=ingredients, tag="made", on_event=events.append, secrets=given)
    return result.image, b"".join(event.data for event in events if isinstance(event, Output)).decode()


def tree(engine: Engine, image: Image) -> dict[str, tuple[object, ...]]:
    """Kind, mode, owner and link of each path of an image, but for what depends on the time."""
    found: dict[str, tuple[object, ...]] = {}
    for chain in image.chain_ids:
        for entry in unpacked.index(engine.store.root, chain):
            if entry.kind == "whiteout":
                base = entry.path.removesuffix("/.wh..wh..opq")
                gone = base + "/" if base != entry.path else entry.path
                for path in [path for path in found if path == gone or path.startswith(gone.rstrip("/") + "/")]:
                    del found[path]
            else:
                found[entry.path] = (entry.kind, oct(entry.mode), entry.uid, entry.gid, entry.link)
    return found


@pytest.mark.slow
def test_debian_builds_with_a_single_id(single: tuple[Engine, Image, str]) -> None:
    """apt, dpkg, useradd, chown, su, sudo, mknod, tar and pip do what they do, and verify it; what is mounted for them stays out."""
    engine, image, printed = single
    lines = printed.splitlines()
    for line in (
        "uid=1000(ann) gid=1000(ann) groups=1000(ann),777(crew)",
        *["ann:ann"] * 3,
        *("wheels made", "bob", "iniconfig", "ann", "ann:crew", "root:shadow", "root:_ssh"),
    ):
        assert line in lines, printed[-3000:]
    found = tree(engine, image)
    assert found["/home/bob"][:4] == ("directory", "0o2750", 1001, 777)
    assert found["/home/ann/deep/link"][:4] == ("symlink", "0o777", 1000, 1000)
    assert found["/srv/app/link"][1:4] == ("0o777", 1001, 777), "a step gives away what an earlier one made"
    assert found["/srv/app/pipe"][2:4] == (1000, 0)
    assert found["/srv/app/disk"][:4] == ("device", "0o644", 0, 6)
    assert found["/usr/bin/sudo"][:4] == ("file", "0o4755", 0, 0)
    assert found["/usr/bin/ssh-agent"][1] == "0o2755"
    mounted = ("/wheels/", "/run/secrets/", "/var/lib/apt/lists/")
    assert not [path for path in found if path.startswith(mounted) and not path.endswith(("/lock", "/partial"))]
    secret = hashlib.sha256(SECRET.encode()).digest()
    for chain in image.chain_ids:
        assert secret not in (engine.store.root / "layers" / chain.hex / "index").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can build it with every id, to compare")
def test_the_tree_is_roots(single: tuple[Engine, Image, str], ingredients: Path, tmp_path: Path) -> None:
    """Every path has the kind, mode, owner and link that it has when real root builds it."""
    with Engine(tmp_path / "store") as engine:
        image, _ = built(engine, ingredients)
        assert tree(single[0], single[1]) == tree(engine, image)
