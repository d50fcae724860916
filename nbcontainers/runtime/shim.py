"""The parent of one container: starts it, holds its streams and its log, waits for it, and writes what became of it.

A process of its own, which the zygote forks (see ``service``). A container in the foreground ends when the engine's end of the
control socket closes, whatever closed it; one that is detached goes on. Should the shim itself be killed, the kernel ends the
container (PR_SET_PDEATHSIG) and whoever next reads its state repairs that. Imports only what keeps the zygote small.

Messages on the control socket, marshalled tuples: ``("started", pid, where in the log this run begins)``,
``("failed", stage, errno, message, exit code)`` and ``("exited", what changes in the state, bytes written)``.
"""

from __future__ import annotations

import _socket
import errno
import gc
import marshal
import os
import select
import time

from ..linux import slices
from . import beforehand, collapse, groups, happenings, overruns, processes, record
from .birth import Failed
from .door import Caller, Door
from .firstprocess import FirstProcess
from .health import Health
from .identity.supervisor import Supervisor
from .plug import Plug
from .poller import Poller
from .restarts import Restarts
from .session import Session
from .streams import Streams
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .plan import Plan

TAKEN = b"t"
LEAVES, CALLS_OFF, GO_ON = b"d", b"k", b"w"
"""What an engine says on the control socket: it has no more to do with the container; it is not to be; its files are there."""
_PATIENCE_S = 10.0  # how long the shim of the last run may take to tidy up: its cgroups alone half of that


class Over(BaseException):
    """The container is gone; ``is_free`` says that this process is as it was before."""

    def __init__(self, is_free: bool) -> None:
        super().__init__()
        self.is_free = is_free


class Shim:
    """What a process does with one container, from its plan to its end."""

    def __init__(self, plan: Plan, control: int, plug: Plug, link: _socket.socket) -> None:
        """``control``: a SOCK_SEQPACKET socket whose other end the engine holds for as long as it wants the container. ``link``: to the
        zygote, which is told that this process has work, and what the next one can make beforehand.
        """
        self.plan = plan
        self.plug = plug
        self._link: _socket.socket | None = link  # until it is told
        self.control = _socket.socket(fileno=control)
        self.poller = Poller()
        self.restarts = Restarts(plan["restart"])
        self.streams = Streams(self.poller, plan["log"], plan["log_options"], lasts=plan["stdin_lasts"])
        self.first = FirstProcess(plan, self.poller, self.streams, self._executes, self._ended)
        self.is_written = False  # what says what the container is
        self.is_owner = False  # no other shim has this container: its state may be written
        self.out_of_memory = False
        self.ended_by = ""
        self.limit: object = None  # the timer of the end of its time
        self.waiting: object = None  # the timer of the next start, between two
        self.last: tuple[int, bool, float] = (0, False, 0.0)  # how the last run ended: exit code, out of memory, when
        self.is_left = False  # by the engine that had it in the foreground
        self.is_stopped = False  # a person wanted it to end, and had it end
        self.door: Door | None = None
        self.health: Health | None = None
        self.supervisor = Supervisor(self._unanswered)
        self.watch = Watch(self.poller, plan, self.supervisor, self._exceeds)
        self.extra: dict[str, Any] = {}

    def run(self, stdio: int) -> NoReturn:
        """Start, serve, finish. Over when it is done."""
        if not self.streams.own(0):
            self._tell_zygote()  # others need not wait for the shim of the last run
            if not self.streams.own(_PATIENCE_S):
                self._fail("another start", errno.EBUSY, "the container runs already", 125)
        self.is_owner = True
        beforehand.begin(self.plan)  # it works while this process makes what leads there
        self.streams.find_begin()
        if stdio >= 0:
            self.streams.attach(_socket.socket(fileno=stdio), from_begin=True)
        self.poller.watch(self.control.fileno(), select.POLLIN, self._left)
        self._start()
        gc.enable()
        most = self.plan["output_limit"]
        while True:
            self.poller.turn()
            if most and self.first.begun and self.streams.written > most:
                self._end_for(overruns.of_output(most))

    def _start(self) -> None:
        """One run, the first or a further one."""
        self.waiting = None
        self.out_of_memory, self.ended_by = False, ""
        try:
            self._launch()
        except Failed as failure:
            self._fail(*failure.args)
        except OSError as error:
            self._fail("shim", error.errno or 0, str(error), 125)

    def _launch(self) -> None:
        plan, first = self.plan, self.first
        first.bear(self.supervisor, self.plug, self._tell_zygote)
        try:
            self.plug.attach(first.pid)
            self.extra = {
                "start": processes.start_time(first.pid),
                "shim": os.getpid(),
                "shim_start": beforehand.born(),
                "socket": plan["socket"],
                "log_begin": self.streams.begin,
                **groups.noted(plan),
                **({} if plan["view"] is None else first.shown()),
            }
            running = {"status": "running", "pid": first.pid, "started": first.started, "restarts": self.restarts.count}
            if not self._has_files():
                raise Failed("start", 0, "ended with the engine that ran it", 125)
            if not self._record({**self.plan["state"], **running}, whole=True):
                raise Failed("start", 0, "the container was removed meanwhile", 125)
            self._settle()
            first.go_on()
        except OSError as error:
            if first.has_ended(error):
                return  # init ended first and has said why; it only was not to be found any more
            raise Failed("record", error.errno, str(error), 125) from error
        if self.door is None:
            self.door = Door(self.poller, plan["socket"], attach=self._attach, obey=self._obey)

    def _has_files(self) -> bool:
        """Whether its engine has written what is its to write, which is waited for; only then the container is to be found."""
        try:
            self.is_written = self.is_written or self.control.recv(1) == GO_ON
        except OSError:
            pass  # it is gone
        return self.is_written

    def _tell_zygote(self) -> None:
        """Say that this process has work, so that another takes its place; only now, for the two would share a processor."""
        link, self._link = self._link, None
        if link is None:
            return
        try:
            link.send(TAKEN + beforehand.next_pattern(self.plan), _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # the zygote was killed meanwhile, which is nothing to this container
        if self.plan["detach"]:  # the zygote may have many of those, and will not hear of them again
            link.close()

    def _settle(self) -> None:
        """Go on once the networks are there; the container ends with the process that holds them."""
        if why := self.plug.settle():
            raise Failed("network", 0, why, 125)
        if self.plug.watch() >= 0:
            self.poller.watch(self.plug.watch(), select.POLLIN, lambda events: self._unplugged())

    def _unplugged(self) -> None:
        self.poller.forget(self.plug.watch())
        self.restarts.give_up()  # there are none to plug the next run into
        if self.waiting is not None:
            self._finish(*self.last, "ended with the process that held its networks")
        self._end_for("ended with the process that held its networks")

    def _leave_networks(self) -> None:
        """Before anybody hears of the end: who does may start the container again, or want its address, at once."""
        self.poller.forget(self.plug.watch())
        self.plug.leave()

    def _attach(self, guest: _socket.socket) -> None:
        self.streams.attach(guest, from_begin=False)

    def _obey(self, caller: Caller, wish: dict[str, Any]) -> None:
        """Do what somebody at the socket wants."""
        match wish["do"]:
            case "exec":
                if self.first.pidfd < 0 or not self.first.begun:
                    caller.answer(("failed", "start", errno.ESRCH, "the container is not running", 126))
                else:
                    Session(self.poller, self.plan, self._inside(), caller, wish)
            case "resize":
                self.first.resize(wish["rows"], wish["columns"])
                caller.answer(("done",))
            case "stop":  # a person wants it ended, and it shall not be started again
                self.restarts.give_up()
                self.is_stopped = self.is_stopped or wish["ends"]
                if self.waiting is not None:
                    self._finish(*self.last)
                caller.answer(("done",))
            case "memory":  # how much it holds that is in no process
                caller.answer(("memory", self.watch.held()))
            case "restart":  # what the policy is to be from now on
                self.restarts.change(wish["policy"])
                caller.answer(("done",))

    def _executes(self) -> None:
        """The command runs."""
        if self.first.program != self.first.pid:
            self.extra["start"] = processes.start_time(self.first.program)
            self._record({"pid": self.first.program})
        self._happen("start")  # before anybody hears of it, and does what is told of next
        if self.plan["health"] is not None:
            self.health = Health(self.poller, self.plan, self._inside(), put=self._record, happen=self._happen)
        if not self.restarts.count:
            self._say(("started", self.first.program, self.streams.begin))
        if self.plan["time_limit"]:
            why = overruns.of_time(self.plan["time_limit"])
            self.limit = self.poller.after(self.plan["time_limit"], lambda: self._end_for(why))
        self.watch.begin(self.first.pid, self.first.pidfd)

    def _inside(self) -> tuple[int, int, int]:
        """What it takes to enter the container."""
        return self.first.pid, self.first.pidfd, self.supervisor.channel

    def _unanswered(self) -> None:
        """The supervisor of identities is gone: without its answers nothing inside can go on."""
        self.ended_by = self.ended_by or "the process that answers for its identities was killed"
        self.first.kill()

    def _left(self, events: int) -> None:
        """The engine let go of the container, leaves it to itself (LEAVES), or does not want it after all (CALLS_OFF)."""
        word = b""
        try:
            word = self.control.recv(1) if events & select.POLLIN else b""
            if word == LEAVES:
                self.plan["detach"] = True
                self._record({"detached": True})
                return
            if word == GO_ON:  # where the first process had ended before that was waited for
                self.is_written = True
                return
        except OSError:
            pass
        if word == CALLS_OFF:
            self.plan["detach"] = False
        self.poller.forget(self.control.fileno())
        if not self.plan["detach"] or not (self.first.begun or self.restarts.count):
            self.is_left = True
            self.restarts.give_up()
            self.ended_by = self.ended_by or "ended with the engine that ran it"
            self.first.kill()
            if self.waiting is not None:
                self._finish(*self.last)

    def _end_for(self, why: str) -> None:
        if not self.ended_by and self.first.pidfd >= 0:
            self.ended_by = why
            self.first.kill()

    def _exceeds(self, why: str) -> None:
        """It has more than it may, of memory where no words say of what."""
        if why:
            self._end_for(why)
        else:
            self.out_of_memory = True
            self.first.kill()

    def _ended(self) -> None:
        """The run is over: record it, and either say it and tidy up, or wait for the next one."""
        self.first.listen()  # it may have executed the command and ended before this process came to hear of either
        self.poller.cancel(self.limit)
        code = self.first.wait()
        self.supervisor.end()
        self.first.hear_out()
        self.watch.end()
        if self.health is not None:
            self.health.close()
            self.health = None
        self.out_of_memory = self.out_of_memory or groups.oom_kills(self.plan) > 0
        if not self.first.begun:
            self._fail(*self.first.cause(self.ended_by, code, self.out_of_memory))
        if self.plan["shares_pids"]:
            groups.kill(self.plan)
        self.streams.drain()
        self.first.close_terminal()
        self.last = (code, self.out_of_memory, time.time())
        if self.out_of_memory:
            self._happen("oom")
        self._happen("die", exitCode=str(code))
        pause = self.restarts.pause(code, self.first.age)
        if pause is None or self.is_left:
            self._finish(*self.last)
        waits = {"status": "restarting", "pid": 0, "finished": self.last[2]}
        try:
            self._record({**waits, "exit_code": code, "out_of_memory": self.out_of_memory})
        except OSError:
            pass
        self.first.unmount()
        groups.remove(self.plan)
        self.streams.begin_anew()
        self.waiting = self.poller.after(pause, self._start)

    def _finish(self, code: int, out_of_memory: bool, finished: float, why: str = "") -> NoReturn:
        """The last run is over: record it, say it, and only then tidy up. An engine that will remove it at once is told first."""
        self.poller.cancel(self.waiting)
        self.streams.dismiss()
        self._leave_networks()
        self.extra["written"] = self.streams.written
        # Nothing has changed this process for good. What it does next is nothing to this container, which says so on the disk: who
        # finds another's process named there might wait for it, or end it.
        is_free = not any(self.plan[word] for word in ("detach", "entered", "pid_namespace", "view"))
        if is_free:
            self.extra["shim"] = self.extra["shim_start"] = 0
        end = {
            "status": "exited",
            "pid": 0,
            "started": self.first.started,
            "finished": finished,
            "exit_code": code,
            "out_of_memory": out_of_memory,
            "error": why or self.ended_by or self.streams.lost,
            "stopped": self.is_stopped,
        }
        is_removed = self.plan["state"]["auto_remove"] and not self.plan["detach"]
        message = ("exited", end, self.streams.written)
        if is_removed:
            self._say(message)
        try:
            self._record(end)
        except OSError:
            is_free = False  # the disk is worse than full: whoever reads the state repairs it, and the engine is told
        if not is_removed:
            if not self.plan["state"]["auto_remove"]:  # else nobody mounts its root again
                self.first.unmount()
            self._say(message)
        self._tidy()
        raise Over(is_free)

    def _fail(self, stage: str, number: int, message: str, code: int) -> NoReturn:
        """Leave nothing of a run that did not come to be, and say why."""
        if self.first.pid > 0:
            self.first.kill()
            self.first.wait()
        beforehand.drop()
        self.supervisor.end()
        if self.restarts.count:  # it ran before: it is one that has ended
            self._finish(code, self.out_of_memory, time.time(), f"{stage}: {message}")
        self._leave_networks()
        self.first.unmount()
        try:
            failed: dict[str, Any] = {"status": "created", "exit_code": code, "error": f"{stage}: {message}"}
            if not self._has_files() and not os.path.exists(f"{self.plan['folder']}/{record.NAME}"):
                failed.update(status="exited", auto_remove=True)  # half of a container: whoever finds it removes it
            self._record({**self.plan["state"], **failed}, whole=True)
        except OSError:
            pass  # what is on disk is older, not false; the engine hears it below
        self._say(("failed", stage, number, message, code))
        self._tidy()
        raise Over(False)

    def collapse(self, why: str) -> bool:
        """End what runs, record why and say it; false where it had not come to a run."""
        if not self.is_owner or not (self.first.begun or self.restarts.count):
            return False
        end = collapse.end(self.plan, why, pid=self.first.pid, extra=self.extra, keep=self.control.fileno())
        self._say(("exited", end, self.streams.written))
        return True

    def _record(self, what: dict[str, Any], *, whole: bool = False) -> bool:
        """Change what state.json says; that of another shim is not touched, nor one that is gone."""
        return self.is_owner and record.change(self.plan["folder"], what, self.extra, whole=whole)

    def _happen(self, action: str, **attributes: str) -> None:
        """Note for ``events`` what happened to the container."""
        happenings.note(self.plan["happenings"], "container", action, self.plan["state"], attributes)

    def _say(self, message: tuple[Any, ...]) -> None:
        """Tell the engine, if it is still there, and let it go on: who writes to a socket is taken for one who goes to sleep then, so the
        reader is woken on the same processor, where it would wait until all is tidied up.
        """
        try:
            self.control.send(marshal.dumps(message), _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except OSError:
            pass
        os.sched_yield()

    def _tidy(self) -> None:
        """Take away socket, mounts and cgroups, for which nobody waits."""
        slices.take_usual()
        self.control.close()
        self.first.unmount()
        self.first.pay_back()
        if self.door is not None:
            self.door.close()
        if self.is_owner:
            groups.remove(self.plan)
            groups.remove_shelves(self.plan)
