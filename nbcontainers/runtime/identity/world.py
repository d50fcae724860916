"""What the supervisor of one container knows: its people, its files that have no attributes, its privileges."""

from __future__ import annotations

import os

from ...linux import recorded
from . import credentials
from .credentials import Credentials, People

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .policy import IdentityPlan

_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN, _CAP_MKNOD = 0, 6, 7, 21, 27
_REAL = frozenset({(0, 0)})  # the owners that a single-id user namespace holds


class World:
    """One container's; made where the host's files are still seen."""

    def __init__(self, plan: IdentityPlan, first: Credentials) -> None:
        self.people = People(first)
        self.real = _REAL
        self.beside = os.open(os.path.dirname(plan["ledger"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.ledger = recorded.Ledger()
        for path in (*plan["ledgers"], plan["ledger"]):
            self.ledger.load(path)
        self.own_mount = 0
        held = plan["capabilities"]
        self.may_chown = bool(held >> _CAP_CHOWN & 1)
        self.may_setuid = bool(held >> _CAP_SETUID & 1)
        self.may_setgid = bool(held >> _CAP_SETGID & 1)
        self.may_make_devices = bool(held >> _CAP_MKNOD & 1)
        self.no_new_privs = plan["no_new_privs"]
        self.locks = plan["locks"]
        # Who may mount can have another root than the container's; else chroot(2) is seen.
        self.is_moved = bool(held >> _CAP_SYS_ADMIN & 1)

    def settle(self) -> None:
        """Look around, once the container's root is the supervisor's."""
        self.own_mount = recorded.mount(b"/", follow=True)


def first(uid: int, gid: int, groups: list[int]) -> Credentials:
    """Who the container's first process is."""
    return credentials.initial(uid, gid, tuple(groups))
