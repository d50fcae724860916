"""Tags: one file for each, in ROOT/tags, replaced as a whole. They are what the collector starts from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import IntegrityError, InvalidReference, NBContainersError, NotFound
from ..oci.descriptor import Descriptor
from ..oci.image import parse
from ..oci.reference import Reference
from .durable import replace, sync_folder

_LONGEST_NAME = 200  # NAME_MAX is 255, and quoting makes three bytes of a slash


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name and the manifest that it stands for; ``tagged`` is the instant it got it, in seconds since the epoch."""

    reference: Reference
    descriptor: Descriptor
    tagged: int


class Tags:
    """The tags of one store. Whoever writes or removes one holds the store's gate, shared at least."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "tags"

    def path(self, reference: Reference) -> Path:
        """Where the tag is or would be: its canonical name, percent-quoted; cut and told apart by a digest where too long."""
        name = quote(str(reference), safe="")
        if len(name) > _LONGEST_NAME:
            name = f"{name[:100]}~{hashlib.sha256(name.encode()).hexdigest()}"
        return self._folder / name

    def read(self, reference: Reference) -> Tag:
        """The tag of this name.

        Raises:
            NotFound: there is none.
            IntegrityError: its file is damaged.

        """
        path = self.path(reference)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no such image: {reference.familiar}") from None
        return _decode(data, path)

    def write(self, reference: Reference, descriptor: Descriptor) -> Tag:
        """Give a name to a manifest, durably, taking it from another; a name that it has already is let be."""
        try:
            tag = self.read(reference)
        except (NotFound, IntegrityError):
            pass
        else:
            if tag.descriptor == descriptor:
                sync_folder(self._folder)  # whoever wrote it may not have got to this yet
                return tag
        tag = Tag(reference=reference, descriptor=descriptor, tagged=int(time.time()))
        data = json.dumps(
            {"reference": str(reference), "descriptor": descriptor.to_json(), "tagged": tag.tagged}, indent=1
        )
        replace(self.path(reference), data.encode(), temporary=self._root / "ingest")
        return tag

    def remove(self, reference: Reference) -> None:
        """Take a name away, durably; no error if it is not there."""
        self.path(reference).unlink(missing_ok=True)
        sync_folder(self._folder)

    def __iter__(self) -> Iterator[Tag]:
        """All tags, by name; damaged files are left out, ``damaged`` names them."""
        for path in sorted(self._folder.iterdir()):
            try:
                yield _decode(path.read_bytes(), path)
            except (FileNotFoundError, NBContainersError):
                continue

    def damaged(self) -> tuple[Path, ...]:
        """The files that should be tags and cannot be read."""
        found = []
        for path in sorted(self._folder.iterdir()):
            try:
                _decode(path.read_bytes(), path)
            except FileNotFoundError:
                continue
            except NBContainersError:
                found.append(path)
        return tuple(found)


def _decode(data: bytes, path: Path) -> Tag:
    fields = parse(data, f"the tag {path}")
    try:
        return Tag(
            reference=Reference.parse(fields["reference"]),
            descriptor=Descriptor.from_json(fields["descriptor"]),
            tagged=int(fields.get("tagged", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidReference) as error:
        raise IntegrityError(f"the tag {path} is damaged: {error}", hint="remove it and tag the image again") from error
