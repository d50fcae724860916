"""Platforms: how they are written, and which runs what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbcontainers.errors import NBContainersError, NotFound
from nbcontainers.oci import platforms
from nbcontainers.oci.descriptor import MANIFEST, Descriptor, Digest, Platform


def entry(text: str) -> Descriptor:
    return Descriptor(
        media_type=MANIFEST, digest=Digest.of(text.encode()), size=1, platform=platforms.parse(text) if text else None
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/amd64/v1", "linux/amd64"),
        ("Linux/AMD64/v3", "linux/amd64/v3"),
        ("windows/amd64", "windows/amd64"),
        ("i386", "linux/386"),
    ],
)
def test_a_platform_has_one_way_to_be_said(text: str, normal: str) -> None:
    """Go's words, and no variant that goes without saying."""
    assert str(platforms.parse(text)) == normal


@pytest.mark.parametrize("text", ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "/amd64"])
def test_what_is_no_platform_is_an_error(text: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(NBContainersError, match="not a platform"):
        platforms.parse(text)


def test_several_platforms_are_told_to_come_one_at_a_time() -> None:
    """As buildx writes them; nothing here takes more than one."""
    with pytest.raises(NBContainersError, match="several platforms where one is wanted") as caught:
        platforms.parse("linux/amd64,linux/arm64")
    assert "one platform at a time" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "there", "taken"),
    [
        ("amd64", ["arm64", "amd64"], "amd64"),
        ("amd64", ["386"], "386"),
        ("amd64", ["386", "amd64"], "amd64"),
        ("linux/amd64/v3", ["amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], "linux/arm/v5"),
        ("arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("arm64", ["", "arm64"], "arm64"),
        ("arm64", ["amd64", ""], ""),
    ],
)
def test_the_best_that_runs_is_chosen(host: str, there: list[str], taken: str) -> None:
    """The same, then older variants, then older processors, then one that names none."""
    assert platforms.choose(map(entry, there), platforms.parse(host)) == entry(taken)


def test_where_nothing_runs_the_error_says_what_there_is() -> None:
    """Attestations, which are for no platform, are not offered."""
    attestation = Descriptor(
        media_type=MANIFEST,
        digest=Digest.of(b"a"),
        size=1,
        platform=Platform(os="unknown", architecture="unknown"),
    )
    with pytest.raises(NotFound, match=r"no image for linux/riscv64") as caught:
        platforms.choose([entry("amd64"), attestation], platforms.parse("riscv64"))
    assert caught.value.hint == "it has images for: linux/amd64"


def test_an_image_is_chosen_before_an_artifact() -> None:
    """Where neither names a platform: an index may list what belongs to its image."""
    signature = replace(entry(""), artifact_type="application/vnd.acme.signature")
    image = replace(entry(""), digest=Digest.of(b"image"))
    assert platforms.choose([signature, image], platforms.parse("amd64")) == image
