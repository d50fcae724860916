"""What widgets are sent: bounded, whatever an image holds."""

from __future__ import annotations

import json

from nbcontainers.jupyter import payload
from nbcontainers.results import PackageChange, SettingChange
from tests.jupyter import samples


def package(number: int, version: str = "1.2.3-1~deb12u1") -> PackageChange:
    return PackageChange(
        kind="upgraded", packaging="dpkg", name=f"package-{number}", before=version, after=version + "+1"
    )


def test_a_new_release_of_a_distribution_fits_into_a_message() -> None:
    """All of its packages, or as many as may be sent; the reader is told how many there are."""
    held = payload.bounded(payload.package(package(number)) for number in range(1000))
    assert len(held) == 1000
    for version in ("1", "9" * 5000):
        held = payload.bounded(payload.package(package(number, version)) for number in range(50_000))
        assert 100 < len(held) < 50_000
        assert len(json.dumps(held)) < 400_000


def test_a_million_labels_do_not_make_a_message_large() -> None:
    """Nor do long ones."""
    for value in ("x", "line\n" * 100_000):
        settings = (SettingChange(key=f"Labels.{number}", before=None, after=value) for number in range(100_000))
        held = payload.bounded(map(payload.setting, settings))
        assert held
        assert len(json.dumps(held)) < 400_000


def test_a_layer_tells_who_shares_it_but_not_of_a_thousand() -> None:
    """Some names, and how many there are."""
    layer = samples.layer("RUN x", 5, shared_with=tuple(f"image-{number}:latest" for number in range(1000)))
    (told,) = payload.stack(samples.stack((layer,)))["layers"]
    assert (len(told["sharedWith"]), told["sharedBy"]) == (payload.SHARED, 1000)
