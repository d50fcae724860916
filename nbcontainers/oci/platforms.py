"""Which image of an index runs on a platform: the order in which containerd tries variants and older processors.

Source: github.com/containerd/platforms, ``platformVector`` and ``normalizeArch``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import NBContainersError, NotFound
from .descriptor import Descriptor, Platform

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
_DEFAULTS = {("amd64", "v1"), ("arm64", "v8")}  # variants that go without saying
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


def normal(platform: Platform) -> Platform:
    """The one way to say a platform: Go's words, and no variant that goes without saying (``arm`` alone is ``arm/v7``)."""
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant[:1].isdigit():
        variant = f"v{variant}"
    if architecture == "arm" and not variant:
        variant = "v7"
    if (architecture, variant) in _DEFAULTS:
        variant = ""
    return Platform(os=platform.os.lower(), architecture=architecture, variant=variant)


def parse(text: str) -> Platform:
    """Read ``OS/ARCHITECTURE[/VARIANT]``, or an architecture alone, which is linux's.

    Raises:
        NBContainersError: it is no platform.

    """
    parts = text.lower().split("/")
    if len(parts) == 1 and parts[0] not in _SYSTEMS:
        parts = ["linux", *parts]
    if not 2 <= len(parts) <= 3 or not all(part and part.replace("_", "").replace("-", "").isalnum() for part in parts):
        raise unreadable(text)
    return normal(Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else ""))


def unreadable(text: str) -> NBContainersError:
    """The error of a word that is no platform; buildx takes several with commas, where one is meant here."""
    hint = "write OS/ARCHITECTURE[/VARIANT]: linux/amd64, linux/arm64, linux/arm/v7"
    if "," in text:
        hint = "name one platform at a time, with a tag for each"
        return NBContainersError(f"several platforms where one is wanted: {text!r:.200}", hint=hint)
    return NBContainersError(f"not a platform: {text!r:.200}", hint=hint)


def usable(platform: Platform) -> tuple[Platform, ...]:
    """The platforms whose programs run on this one, the best first."""
    wanted = normal(platform)
    found = [wanted]

    def older(architecture: str, newest: int, oldest: int) -> None:
        found.extend(
            normal(replace(wanted, architecture=architecture, variant=f"v{number}"))
            for number in range(newest, oldest - 1, -1)
        )

    number = int(wanted.variant[1:]) if wanted.variant[1:].isdigit() else 0
    match wanted.architecture:
        case "amd64":
            older("amd64", number - 1, 1)
            found.append(Platform(os=wanted.os, architecture="386"))
        case "arm64":
            if number > 8:
                found.append(replace(wanted, variant=""))
            older("arm", 8, 5)
        case "arm":
            older("arm", number - 1, 5)
    return tuple(found)


def choose(manifests: Iterable[Descriptor], platform: Platform) -> Descriptor:
    """The manifest of an index for a platform; one that names no platform is for all, and is taken last; of several no artifact.

    Raises:
        NotFound: there is none; the hint names those that there are.

    """
    entries = tuple(manifests)
    order = usable(platform)
    ranked = [
        (
            len(order) if entry.platform is None else order.index(normal(entry.platform)),
            entry.artifact_type,
            number,
            entry,
        )
        for number, entry in enumerate(entries)
        if entry.platform is None or normal(entry.platform) in order
    ]
    if not ranked:
        raise none_of(entries, platform)
    return min(ranked, key=lambda found: found[:3])[3]


def exact(manifests: Iterable[Descriptor], platform: Platform) -> Descriptor | None:
    """The manifest of an index for this platform and no other; None where there is none."""
    wanted = normal(platform)
    return next((entry for entry in manifests if entry.platform and normal(entry.platform) == wanted), None)


def none_of(manifests: Iterable[Descriptor], platform: Platform) -> NotFound:
    """The error of an index that has nothing for a platform; its hint names those that there are."""
    there = sorted({str(entry.platform) for entry in manifests if entry.platform and entry.platform.os != "unknown"})
    return NotFound(
        f"no image for {normal(platform)} in the index", hint=f"it has images for: {', '.join(there) or 'nothing'}"
    )
