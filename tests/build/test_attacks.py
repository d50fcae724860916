"""Dockerfiles and images that want files of the host, or of other builds (class 8 of the policy; docs/sandbox.md)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import NBContainersError
from nbcontainers.oci.reference import Reference
from tests.build.conftest import Builder
from tests.build.test_solver import unique


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the host's with a file that no build may read or change."""
    folder = tmp_path / "victim"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "file").write_text("the host's")
    return folder


@pytest.mark.parametrize(
    "identifier", ["../../../../victim", "/{victim}", "..", ".", "a/../../../b", "{victim}/../victim"]
)
def test_the_name_of_a_cache_is_no_path(builder: Builder, victim: Path, identifier: str) -> None:
    """Whatever the ``id`` of a cache mount is (CVE-2024-9675 of buildah), its folder is one of the store's."""
    given = f"type=cache,id={identifier.format(victim=victim)},target=/c"
    builder.build(f"FROM busybox\nRUN --mount={given} echo {unique()}; cat /c/file; touch /c/new; ls /c\n")
    assert "host" not in builder.output
    assert os.listdir(victim) == ["file"]
    folder = builder.store.root / "cache/mounts"
    assert any((place / "fs/new").exists() for place in folder.iterdir())


@pytest.mark.parametrize("kind", ["bind", "cache"])
def test_the_source_of_a_mount_stays_in_what_it_is_of(builder: Builder, victim: Path, kind: str) -> None:
    """A link, or a way up, in a stage or in the context leads to a place inside (CVE-2024-23651, CVE-2024-1753 of buildah)."""
    (builder.context / "out").symlink_to(victim)
    for source in ("/out", "/up", "../../../../../.." + str(victim), "/out/../out"):
        for origin in ("links", ""):
            given = f"type={kind},source={source},target=/m" + (f",from={origin}" if origin else "")
            text = f"FROM busybox AS links\nRUN ln -s {victim} /out; ln -s ../../../../..{victim} /up\n"
            text += f"FROM busybox\nRUN --mount={given} cat /m/file; touch /m/new; echo {unique()}\n"
            try:
                builder.build(text)
            except NBContainersError:  # there is no such place inside
                continue
            assert "host" not in builder.output, given
    assert os.listdir(victim) == ["file"]


def test_the_target_of_a_mount_stays_inside(builder: Builder, victim: Path) -> None:
    """An image whose folders are links to the host's gets its mounts inside, and what it ran on is cleared away there."""
    for kind in ("cache", "tmpfs", "bind,source=a"):
        builder.write({"a/mine": "x"})
        text = f"FROM busybox\nRUN ln -s {victim} /way; ln -s /proc/self/cwd /cwd\n"
        text += f"RUN --mount=type={kind},target=/way/deep/er touch /way/deep/er/new; echo {unique()}\n"
        builder.build(text)
    assert os.listdir(victim) == ["file"]


def test_what_is_copied_stays_inside(builder: Builder, victim: Path) -> None:
    """COPY from a stage, and to a place, behind links to the host."""
    builder.write({"mine": "x"})
    text = f"FROM busybox AS links\nRUN ln -s {victim} /out\nFROM links\nCOPY mine /out/new\nWORKDIR /out/work\n"
    builder.build(text + f"RUN test ! -e /out/file; echo {unique()}\n")
    with pytest.raises(NBContainersError):
        builder.build(
            f"FROM busybox AS links\nRUN ln -s {victim} /out\nFROM busybox\nCOPY --from=links /out/file /got\n"
        )
    (builder.context / "link").symlink_to(victim)
    with pytest.raises(NBContainersError):
        builder.build("FROM busybox\nCOPY link/file /got\n")
    assert os.listdir(victim) == ["file"]


def test_an_image_that_comes_from_elsewhere_is_no_cache(builder: Builder) -> None:
    """CVE-2024-24557: one that says it was made by the very steps of a Dockerfile, with other files, is not taken for their result."""
    base = builder.store.images.resolve("busybox")
    step = f"echo good-{unique()} > /x"
    evil = builder.build(f"FROM busybox\nRUN echo evil-{unique()} > /x\n").image
    told = evil.config.history[-1]
    for by in (f"/bin/sh -c {step}", f"RUN /bin/sh -c {step} # buildkit"):
        claims = replace(evil.config, history=(*base.config.history, replace(told, created_by=by)))
        image = builder.store.images.create(claims, evil.layers)
        builder.store.images.tag(image, Reference.parse("evil"))
    made = builder.build(f"FROM busybox\nRUN {step}\n").image
    assert builder.cached[-1] is False
    assert made.layers[-1].digest != evil.layers[-1].digest
