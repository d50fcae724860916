"""What the supervisor of one container knows: its people, its files that have no attributes, its privileges."""

from __future__ import annotations

import os

from ...linux import recorded
from . import credentials
from .credentials import KEPT, PEOPLE, Credentials, People

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .forks import Crowd
    from .policy import IdentityPlan

CAP_CHOWN, CAP_SETGID, CAP_SETUID, _CAP_SYS_ADMIN, CAP_MKNOD = 0, 6, 7, 21, 27
_PROC_ROOT = 1  # include/linux/proc_ns.h, PROC_ROOT_INO
_REAL = frozenset({(0, 0)})  # the owners that a single-id user namespace holds


class World:
    """One container's; made where the host's files are still seen."""

    def __init__(self, plan: IdentityPlan, first: Credentials, folder: str, crowd: Crowd) -> None:
        try:
            listed = os.open(f"{folder}/{PEOPLE}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError:  # on a full disk it runs all the same
            listed = -1
        self.people = People(first, listed)
        self.real = _REAL
        self.beside = os.open(os.path.dirname(plan["ledger"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.tree = os.open(plan["tree"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.ledger = recorded.Ledger()
        for path in (*plan["ledgers"], plan["ledger"]):
            self.ledger.load(path)
        self.own_mount = 0
        self.processes = 0
        self.held = plan["capabilities"]
        self.no_new_privs = plan["no_new_privs"]
        self.locks = plan["locks"]
        self.crowd = crowd
        # Until something is recorded the kernel's answers are the truth. Another than root may have been given a working directory.
        self._has_records = plan["has_records"] or bool(first[0][0] or first[1][0])
        # Who may mount can have another root than the container's; else chroot(2) is seen.
        self.is_moved = bool(self.held >> _CAP_SYS_ADMIN & 1)

    def allows(self, pid: int, who: Credentials, capability: int) -> bool:
        """Whether a process may what a capability stands for: as root, or as one who kept root's when it became another."""
        if not self.held >> capability & 1:
            return False
        return who[0][1] == 0 or bool(who[3] & KEPT and _effective(pid) >> capability & 1)

    @property
    def has_records(self) -> bool:
        """Whether a file may have a record: here, or by one who copies files in, who then leaves a mark."""
        if not self._has_records:
            try:
                os.stat(recorded.MARK, dir_fd=self.beside)
                self._has_records = True
            except OSError:
                pass
        return self._has_records

    def record(self) -> None:
        """From here on files have records."""
        if not self._has_records:
            recorded.mark(self.beside)
            self._has_records = True

    def settle(self) -> None:
        """Look around, once the container's root is the supervisor's."""
        self.own_mount = recorded.mount(b"/", follow=True)
        try:
            proc = os.stat(b"/proc")
        except OSError:
            return
        if proc.st_ino == _PROC_ROOT:
            self.processes = proc.st_dev


def _effective(pid: int) -> int:
    """The capabilities that the kernel says are effective: it has not seen the change of ids, but what is given up by capset(2)."""
    with open(b"%d/status" % pid, "rb", buffering=0) as file:
        text = file.read(4096) or b""
    return int(text.partition(b"CapEff:")[2].split(None, 1)[0], 16)


def first(uid: int, gid: int, groups: list[int]) -> Credentials:
    """Who the container's first process is."""
    return credentials.initial(uid, gid, tuple(groups))
