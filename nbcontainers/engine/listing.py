"""Which images a person asked for: by a part of the name, and by Docker's filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..errors import NBContainersError
from ..oci.image import Image
from . import inspect
from .selection import Selection

FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")


def select(
    images: Sequence[Image], name: str, filters: Sequence[str], resolve: Callable[[str], Image]
) -> tuple[Image, ...]:
    """The images that fit all that is asked.

    Args:
        images: those to choose from.
        name: REPOSITORY, REPOSITORY:TAG, or a pattern of one (``*``, ``?``, ``[…]``; none of these matches a slash); empty for all.
        filters: ``dangling=true|false``, ``label[!]=KEY[=VALUE]``, ``before=IMAGE``, ``since=IMAGE``, ``until=TIME``,
            ``reference=PATTERN`` (several of these widen the choice).
        resolve: finds the image that ``before`` and ``since`` name.

    """
    chosen = Selection.parse(filters, FILTERS)
    dangling = chosen.truth("dangling")
    before = [inspect.created(resolve(word)) for word in chosen.get("before")]
    since = [inspect.created(resolve(word)) for word in chosen.get("since")]
    patterns = chosen.get("reference")

    def fits(image: Image) -> bool:
        made = inspect.created(image)
        return (
            (not name or matches(image, name))
            and (not patterns or any(matches(image, pattern) for pattern in patterns))
            and (dangling is None or dangling == (image.reference is None))
            and all(made < instant for instant in before)
            and all(made > instant for instant in since)
            and chosen.is_before(made)
            and chosen.has_labels(image.config.config.labels)
        )

    return tuple(image for image in images if fits(image))


def matches(image: Image, pattern: str) -> bool:
    """True if the image's familiar or whole name, with or without its tag, is of the pattern."""
    if image.reference is None:
        return False
    wanted = _expression(pattern)
    reference = image.reference
    names = {reference.familiar_name, reference.name, reference.familiar, str(reference)}
    return any(wanted.fullmatch(name) for name in names)


def _expression(pattern: str) -> re.Pattern[str]:
    """Go's path.Match as a regular expression."""
    parts = []
    for part in re.findall(r"\[[^\]]*\]|\\.|.", pattern, re.DOTALL):
        if part == "*":
            parts.append("[^/]*")
        elif part == "?":
            parts.append("[^/]")
        elif len(part) > 2 and part.startswith("["):
            parts.append(part)
        else:
            parts.append(re.escape(part[-1]))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise NBContainersError(f"not a pattern: {pattern!r}", hint="such as 'app*' or 'lib/?pp:1.[0-9]'") from None
