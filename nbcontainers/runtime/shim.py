"""The parent of one container: starts it, holds its streams and its log, waits for it, and writes what became of it.

A process of its own, forked by the zygote for each container. A container in the foreground ends when the engine's end of the
control socket closes, whatever closed it; one that is detached goes on. Should the shim itself be killed, the kernel ends the
container (PR_SET_PDEATHSIG) and whoever next reads its state repairs that. Imports only what keeps the zygote small.

Messages on the control socket, marshalled tuples: ``("started", pid, where in the log this run begins)``,
``("failed", stage, errno, message, exit code)`` and ``("exited", exit code, out of memory, when, bytes written)``.
"""

from __future__ import annotations

import _socket
import errno
import gc
import marshal
import os
import select
import time

from ..linux import syscalls
from . import init, processes, record
from .streams import Poller, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn

    from .launch import Plan
else:
    import _signal as signal  # the other one imports enum and collections, which cost memory

_WATCH_MS = 100
_CLEANING_S = 5.0  # how long a cgroup may stay busy with what is still ending


class _Failed(Exception):
    """The container cannot be started: stage, errno, message, exit code."""


def main(plan: int, control: int, stdio: int) -> NoReturn:
    """Run one container to its end; never returns.

    Args:
        plan: a descriptor of the marshalled plan.
        control: a SOCK_SEQPACKET socket whose other end the engine holds for as long as it wants the container.
        stdio: a stream socket for the one who started it, attached from the first byte on; -1 for nobody.
    """
    try:
        with open(plan, "rb") as file:
            file.seek(0)  # the engine wrote through the same open file
            shim = _Shim(marshal.load(file), control)  # noqa: S302 - written by our own engine, in memory
        shim.run(stdio)
    except BaseException as error:
        # A fault of ours. The container ends with this process, and the engine repairs its state.
        os.write(control, marshal.dumps(("failed", "shim", 0, f"{type(error).__name__}: {error}{_place(error)}", 125)))
    finally:
        os._exit(1)


def _tell(go: int) -> None:
    """Let init go on. One that is gone has said why on its report pipe, which is read next."""
    try:  # noqa: SIM105 - contextlib would cost the zygote memory
        os.write(go, b"g")
    except BrokenPipeError:
        pass


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""


class _Shim:
    def __init__(self, plan: Plan, control: int) -> None:
        self.plan = plan
        self.control = _socket.socket(fileno=control)
        self.poller = Poller()
        self.pid = 0
        self.pidfd = -1
        self.started = 0.0
        self.begun = False  # exec has happened
        self.is_owner = False  # no other shim has this container: its state may be written
        self.out_of_memory = False
        self.ended_by = ""
        self.report = b""
        self.report_end = -1
        self.listener: _socket.socket | None = None
        self.streams: Streams | None = None
        self.extra: dict[str, Any] = {}

    def run(self, stdio: int) -> NoReturn:
        """Start, serve, finish."""
        try:
            self._start(stdio)
        except _Failed as failure:
            self._fail(*failure.args)
        except OSError as error:
            self._fail("shim", error.errno or 0, str(error), 125)
        gc.enable()
        while self.pidfd >= 0:
            self.poller.turn(_WATCH_MS if self.plan["watched_memory"] and self.begun else None)
            if self.plan["watched_memory"] and self.begun and self.pidfd >= 0:
                self._watch_memory()
        os._exit(0)

    def _start(self, stdio: int) -> None:
        plan = self.plan
        self.streams = Streams(self.poller, plan["log"])
        if not self.streams.own(_CLEANING_S):
            raise _Failed("start", errno.EBUSY, "the container runs already", 125)
        self.is_owner = True
        if stdio >= 0:
            self.streams.attach(_socket.socket(fileno=stdio), from_begin=True)
        self._make_cgroups()
        report, report_end = os.pipe()
        go_end, go = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        in_end, into = os.pipe() if plan["stdin"] else (-1, -1)
        into_cgroup = -1
        try:
            if plan["pid_namespace"]:  # which holds for children only
                other = os.open(plan["pid_namespace"], os.O_RDONLY | os.O_CLOEXEC)
                syscalls.setns(other, syscalls.CLONE_NEWPID)
                os.close(other)
            if plan["into_cgroup"]:
                into_cgroup = os.open(plan["into_cgroup"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                flags = plan["flags"] | syscalls.CLONE_INTO_CGROUP
                self.pid, self.pidfd = syscalls.clone3(flags, cgroup=into_cgroup)
            else:
                self.pid, self.pidfd = syscalls.clone3(plan["flags"])
        except OSError as error:
            raise _Failed("namespaces", error.errno, error.strerror, 125) from error
        if self.pid == 0:
            os.close(go)
            init.run(plan, (in_end, out_end, err_end), report_end, go_end)
        for descriptor in (report_end, go_end, out_end, err_end, in_end, into_cgroup):
            if descriptor >= 0:
                os.close(descriptor)
        self.poller.watch(self.pidfd, select.POLLIN, lambda events: self._ended())
        self.report_end = report
        self.poller.watch(report, select.POLLIN, lambda events: self._reported())
        self.poller.watch(self.control.fileno(), select.POLLIN, self._left)
        self.streams.read(out, 1)
        self.streams.read(err, 2)
        if into >= 0:
            self.streams.feed(into)
        try:
            if plan["uid_map"]:
                self._map_ids()
                _tell(go)
            self.started = time.time()
            self.extra = {
                "start": processes.start_time(self.pid),
                "shim": os.getpid(),
                "shim_start": processes.start_time(os.getpid()),
                "socket": plan["socket"],
                "log_begin": self.streams.begin,
                "cgroup": plan["cgroup"],
                "cgroup_directories": plan["cgroup_directories"],
                "cgroup_shelves": plan["cgroup_shelves"],
                "limits": plan["limits"],
            }
            self._record(status="running", pid=self.pid, started=self.started)
            _tell(go)
        except OSError as error:
            raise _Failed("record", error.errno, str(error), 125) from error
        # The write end stays open: its end tells init that this process is gone.
        self._listen()

    def _make_cgroups(self) -> None:
        try:
            for directory in self.plan["cgroup_directories"]:
                try:
                    os.mkdir(directory, 0o755)
                except FileExistsError:  # left by a shim that was killed: its counters are of that run
                    os.rmdir(directory)
                    os.mkdir(directory, 0o755)
            opened, descriptor = "", -1  # several rules in a row go into one file, each with a write of its own
            for path, value in self.plan["cgroup_writes"]:
                if path != opened:
                    if descriptor >= 0:
                        os.close(descriptor)
                    opened, descriptor = path, os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(descriptor, value.encode())
                except OSError as error:
                    raise OSError(error.errno, f"{error.strerror}: {value!r} to {path}") from error
            if descriptor >= 0:
                os.close(descriptor)
        except OSError as error:
            raise _Failed("cgroup", error.errno, str(error), 125) from error

    def _map_ids(self) -> None:
        """Say who is who in the child's user namespace. setgroups is given up first: an unprivileged map of groups wants that."""
        words = (
            ("setgroups", self.plan["setgroups"]),
            ("uid_map", self.plan["uid_map"]),
            ("gid_map", self.plan["gid_map"]),
        )
        for name, text in words:
            if text:
                descriptor = os.open(f"/proc/{self.pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(descriptor, text.encode())
                finally:
                    os.close(descriptor)

    def _listen(self) -> None:
        """Serve those who attach later, on a socket that only this user can open. Without it the container runs all the same."""
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:  # noqa: SIM105 - contextlib would cost the zygote memory
            os.unlink(self.plan["socket"])  # left by a shim that was killed
        except OSError:
            pass
        try:
            listener.bind(self.plan["socket"])
            listener.listen(16)
        except OSError:
            listener.close()
            return
        finally:
            os.umask(before)
        self.listener = listener
        self.poller.watch(listener.fileno(), select.POLLIN, lambda events: self._accept(listener))

    def _accept(self, listener: _socket.socket) -> None:
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        assert self.streams is not None
        self.streams.attach(_socket.socket(fileno=descriptor), from_begin=False)

    def _reported(self) -> None:
        """Init said something: the byte ``x`` and then the end is exec; anything else says why there was none."""
        data = os.read(self.report_end, 1 << 16)
        self.report += data
        if not data:
            self.poller.forget(self.report_end)
            os.close(self.report_end)
            self.report_end = -1
            if self.report == init.EXECUTES:
                self.begun = True
                self._say(("started", self.pid, self.streams.begin if self.streams else 0))

    def _left(self, events: int) -> None:
        """The engine let go of the container."""
        try:
            if events & select.POLLIN and self.control.recv(1):
                return
        except OSError:
            pass
        self.poller.forget(self.control.fileno())
        if not self.plan["detach"] or not self.begun:
            self.ended_by = self.ended_by or "ended with the engine that ran it"
            self._kill()

    def _kill(self) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def _kill_rest(self) -> None:
        """End what the first process has left: without a pid namespace of its own, its end is not theirs. Only a cgroup knows them."""
        deadline = time.monotonic() + _CLEANING_S
        for directory in self.plan["cgroup_directories"][:1]:
            while time.monotonic() < deadline:
                with open(f"{directory}/cgroup.procs", "rb") as file:
                    left = file.read().split()
                if not left:
                    break
                for word in left:
                    try:  # noqa: SIM105 - contextlib would cost the zygote memory
                        os.kill(int(word), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                time.sleep(0.002)

    def _watch_memory(self) -> None:
        limit = self.plan["watched_memory"]
        if not self.out_of_memory and processes.memory(self.pid, limit) > limit:
            self.out_of_memory = True
            self._kill()

    def _ended(self) -> None:
        """The container is gone: record it, say it, and only then tidy up."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = self.pidfd = -1
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        while self.report_end >= 0:  # its other end died with the container
            self._reported()
        self.out_of_memory = self.out_of_memory or self._oom_kills() > 0
        if not self.begun:
            self._fail(*self._cause(code))
        assert self.streams is not None
        if self.plan["shares_pids"]:
            self._kill_rest()
        self.streams.drain()
        finished = time.time()
        try:  # noqa: SIM105 - contextlib would cost the zygote memory
            self._record(
                status="exited",
                started=self.started,
                finished=finished,
                exit_code=code,
                out_of_memory=self.out_of_memory,
                error=self.ended_by or self.streams.lost,
            )
        except OSError:
            pass  # the disk is worse than full: whoever reads the state repairs it, and the engine hears it below
        self._say(("exited", code, self.out_of_memory, finished, self.streams.written))
        self._tidy()

    def _cause(self, code: int) -> tuple[str, int, str, int]:
        """Why there was no exec: (stage, errno, message, exit code)."""
        told = self.report.removeprefix(init.EXECUTES)
        if told:
            cause: tuple[str, int, str, int] = marshal.loads(told)  # noqa: S302 - written by our own init
            return cause
        if self.ended_by:
            return "start", 0, self.ended_by, 125
        why = ": its memory limit leaves no room to start in" if self.out_of_memory else ""
        return "start", 0, f"the first process was ended (status {code}) before its command ran{why}", 125

    def _fail(self, stage: str, number: int, message: str, code: int) -> NoReturn:
        """Leave nothing of a container that did not come to be, and say why."""
        if self.pid > 0:
            self._kill()
            os.waitpid(self.pid, 0)
        try:  # noqa: SIM105 - contextlib would cost the zygote memory
            self._record(status="created", exit_code=code, error=f"{stage}: {message}")
        except OSError:
            pass  # what is on disk is older, not false; the engine hears it below
        self._say(("failed", stage, number, message, code))
        self._tidy()
        os._exit(0)

    def _oom_kills(self) -> int:
        """How often the kernel killed for want of memory in the container's cgroup (memory.oom_control, memory.events)."""
        try:
            with open(self.plan["oom_file"], "rb", buffering=0) as file:
                words = (file.read() or b"").split()
            return int(words[words.index(b"oom_kill") + 1])
        except (OSError, ValueError):
            return 0

    def _record(self, **what: Any) -> None:
        """Write state.json; a folder that was removed meanwhile wants none, and that of another shim is not touched."""
        if not self.is_owner:
            return
        try:
            folder = record.lock(self.plan["folder"])
        except FileNotFoundError:
            return
        try:
            record.write(folder, {**self.plan["state"], "pid": 0, **what, "runtime": self.extra})
        finally:
            os.close(folder)

    def _say(self, message: tuple[Any, ...]) -> None:
        """Tell the engine, if it is still there."""
        try:  # noqa: SIM105 - contextlib would cost the zygote memory
            self.control.send(marshal.dumps(message), _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except OSError:
            pass

    def _tidy(self) -> None:
        """Take away socket and cgroups. A cgroup is busy for as long as the last of its processes is on its way out."""
        self.control.close()
        if self.listener is not None:
            self.listener.close()
            try:  # noqa: SIM105 - contextlib would cost the zygote memory
                os.unlink(self.plan["socket"])
            except OSError:
                pass
        deadline = time.monotonic() + _CLEANING_S
        for directory in reversed(self.plan["cgroup_directories"] if self.is_owner else []):
            while True:
                try:
                    os.rmdir(directory)
                except OSError as error:
                    if error.errno == errno.EBUSY and time.monotonic() < deadline:
                        time.sleep(0.001)
                        continue
                break
        for directory in reversed(self.plan["cgroup_shelves"] if self.is_owner else []):
            try:
                os.rmdir(directory)
            except OSError:
                break  # another's group is in it by now
