"""What a host allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a host allows or does not, found by trying it."""

    name: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """What this host allows: its isolation tier (T0 to T4), each thing tried, and what cannot be enforced here, in plain words.

    ``store`` is the folder of the store, ``store_reason`` why it is that one, ``stores_refused`` the better ones with what is wrong with
    each.
    """

    tier: str
    summary: str
    checks: tuple[Check, ...]
    not_enforced: tuple[str, ...]
    kernel: str
    cgroups: str
    store: str = ""
    store_reason: str = ""
    stores_refused: tuple[tuple[str, str], ...] = ()
