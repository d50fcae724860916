"""The pipes between a shim and the init of one run: its standard streams, what it reports, and the word to go on.

Imports only what keeps the zygote small.
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Plan


class Pipes:
    """New ones, as a plan wants them: near ends of the shim's (``outputs``, ``input``, ``report``, ``go``), far ends of init's.

    ``input`` and ``stdio`` are -1 where the container has none: it reads nothing, or it has a terminal, which comes through
    ``report``, a socket then.
    """

    def __init__(self, plan: Plan) -> None:
        self.stdio = (-1, -1, -1)
        self.outputs: tuple[int, ...] = ()
        self.input = -1
        if plan["terminal"]:
            near, far = _socket.socketpair()
            self.report, self.report_end = near.detach(), far.detach()
        else:
            self.report, self.report_end = os.pipe()
            out, out_end = os.pipe()
            err, err_end = os.pipe()
            in_end, self.input = os.pipe() if plan["stdin"] else (-1, -1)
            self.stdio, self.outputs = (in_end, out_end, err_end), (out, err)
        self.go_end, self.go = os.pipe()

    @property
    def ends(self) -> tuple[int, ...]:
        """What init has: stdio, report, go; -1 for what there is not."""
        return (*self.stdio, self.report_end, self.go_end)

    def tell(self) -> None:
        """Let init go on. One that is gone has said why in its report, which is read next."""
        try:
            os.write(self.go, b"g")
        except BrokenPipeError:
            pass

    def close_far(self) -> None:
        """Let go of what init has."""
        for descriptor in self.ends:
            if descriptor >= 0:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of the word to go on; the others go to who reads them."""
        os.close(self.go)
