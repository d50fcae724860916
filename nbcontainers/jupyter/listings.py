"""Lists of containers and images below a cell: a table on the page, and text where IDs or a format are asked for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..cli import containers as of_containers
from ..cli import format as form
from ..cli import images as of_images
from . import html, show
from .running import CellConsole
from .session import engine

if TYPE_CHECKING:
    from ..engine import Container
    from ..oci.image import Image


def containers(values: Namespace) -> tuple[Container, ...]:
    """Show the containers that the flags of ``ps`` ask for, and return them."""
    found, console = of_containers.chosen(engine(), values), CellConsole()
    if values.quiet or values.format:
        of_containers.listed(found, values, console)
        return found
    rows, damaged = of_containers.ps_rows(found, values)
    is_any = values.all or values.filter or values.latest or values.last is not None
    label, empty = ("Containers", "No container.") if is_any else ("Running containers", "No container is running.")
    _table(of_containers.ps_columns(values), rows, label=label, empty=empty)
    for one in damaged:
        console.tell(one)
    return found


def images(values: Namespace) -> tuple[Image, ...]:
    """Show the images that the words of ``images`` ask for, and return them."""
    found = of_images.chosen(engine(), values)
    if values.quiet or values.format:
        of_images.listed(engine(), found, values, CellConsole())
        return found
    rows = of_images.image_rows(engine(), found, values)
    is_some = values.repository or values.filter
    empty = "No such image." if is_some else "No image yet."
    _table(of_images.image_columns(values), rows, label="Images", empty=empty)
    return found


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]], *, label: str, empty: str) -> None:
    def words() -> str:
        return form.rows(rows, None, columns) if rows else empty

    show.display(show.Forms(lambda: html.listing(columns, rows, label=label, empty=empty), words))
