"""The verbs of the build cache."""

from __future__ import annotations

from argparse import Namespace

from ..engine import Engine
from ..results import CacheRecord
from . import format as form
from . import text
from .console import Console
from .flags import FORMAT, Command, Flag, filters
from .upkeep import FORCE, KEEP, pruning

COLUMNS = (
    ("ID", "ID"),
    ("TYPE", "Type"),
    ("RECLAIMABLE", "Reclaimable"),
    ("SIZE", "Size"),
    ("LAST ACCESSED", "LastUsedSince"),
    ("DESCRIPTION", "Description"),
)
_SHORT, _LONGEST = 25, 60


def disk_use(engine: Engine, values: Namespace, console: Console) -> int:
    """Each record, then what all of them take."""
    found = engine.build_cache(values.filter)
    rows = [row(record, whole=values.verbose) for record in found]
    if rows or values.format:
        console.print(form.rows(rows, values.format, COLUMNS))
    if not values.format:
        total = sum(record.size for record in found)
        free = sum(record.size for record in found if not record.shared)
        console.print(f"Reclaimable:\t{form.size(free)}\nTotal:\t\t{form.size(total)}")
    return 0


def row(record: CacheRecord, *, whole: bool = False) -> dict[str, object]:
    """One line, by Docker's field names."""
    described = text.printable(record.description)
    return {
        "ID": record.id if whole else record.id[:_SHORT],
        "Type": record.kind,
        "Reclaimable": str(not record.shared).lower(),
        "Size": form.size(record.size),
        "LastUsedSince": form.age(record.used),
        "Description": described if whole else text.shortened(described, _LONGEST),
        "Shared": record.shared,
    }


FILTER = filters(
    "only what fits: until=24h (not used since), type=regular or type=exec.cachemount (folders of RUN --mount), id=ID",
    names=("--filter",),
)
VERBS = (
    Command(
        name="builder du",
        act=disk_use,
        summary="what the build cache holds, and what that takes of the disk",
        flags=(FILTER, Flag(names=("--verbose",), help="whole IDs and descriptions"), FORMAT),
    ),
    Command(
        name="builder prune",
        act=pruning("cache"),
        summary="remove steps of builds whose layers no image has",
        flags=(Flag(names=("-a", "--all"), help="the whole build cache"), FILTER, FORCE, KEEP),
    ),
)
