"""Between a person's terminal and a container, through the real program on a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

Step = tuple[bytes, bytes | Callable[[int], None]]


@pytest.fixture(scope="module")
def store(module_path: Path) -> Iterator[Path]:
    yield module_path
    left = nbc(module_path, "ps", "-aq").stdout.split()
    if left:
        nbc(module_path, "rm", "-f", *left)


def environment(store: Path) -> dict[str, str]:
    return {**os.environ, "NBCONTAINERS_ROOT": str(store), "NO_COLOR": "1"}


def nbc(store: Path, *words: str, stdin: str = "", code: int | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "nbcontainers", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(store),
        timeout=5 * PATIENCE_S,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, done.stderr
    return done


def typed(store: Path, words: list[str], *steps: Step) -> tuple[int, str]:
    """Run the program on a terminal of 30 rows: each time a text is seen, type what belongs to it. (exit code, screen)."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.execve(sys.executable, [sys.executable, "-m", "nbcontainers", *words], environment(store))
    screen, seen, left = b"", 0, list(steps)
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                data = os.read(terminal, 65536)
                if not data:
                    break
                screen += data
            if left and (place := screen.find(left[0][0], seen)) >= 0:
                text, act = left.pop(0)
                seen = place + len(text)
                if isinstance(act, bytes):
                    os.write(terminal, act)
                else:
                    act(terminal)
    if time.monotonic() >= deadline:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert not left, screen
    return os.waitstatus_to_exitcode(status), screen.decode()


def grow(terminal: int) -> None:
    """Make the window larger, and go on."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    os.write(terminal, b"\n")


def test_run_on_a_terminal(store: Path) -> None:
    """The program has a terminal and /dev/console, knows the window and its changes, and its exit code comes out."""
    script = "trap 'stty size' WINCH; tty; stty size; ls /dev/console; read a; "
    script += 'until [ "$(stty size)" = "50 120" ]; do sleep 0.1; done; stty size; exit 7'
    code, screen = typed(store, ["run", "--rm", "-it", "toolbox", "sh", "-c", script], (b"/dev/console", grow))
    assert code == 7
    assert "/dev/pts/0" in screen
    assert "30 100" in screen
    assert "50 120" in screen


def test_the_keys_let_go_and_attach_comes_back(store: Path) -> None:
    """ctrl-p ctrl-q leaves the container running; another terminal takes it up and brings it to its end. exec says that it was left."""
    code, _ = typed(
        store, ["run", "-it", "--name", "kept", "toolbox", "sh"], (b"# ", b"echo $((20+1))\n"), (b"21", b"\x10\x11")
    )
    assert code == 0
    assert "kept" in nbc(store, "ps").stdout
    words = ["exec", "-it", "--detach-keys", "ctrl-x,x", "kept", "sh"]
    code, screen = typed(store, words, (b"# ", b"\x18x"))
    assert (code, "the command goes on by itself" in screen) == (1, True)
    code, screen = typed(store, ["exec", "-it", "kept", "sh"], (b"# ", b"tty; exit 4\n"))
    assert (code, "/dev/pts/" in screen) == (4, True)
    code, screen = typed(store, ["attach", "kept"], (b"", b"echo $((21*2)); exit 3\n"))
    assert (code, "42" in screen) == (3, True)
    nbc(store, "rm", "kept", code=0)


@pytest.mark.parametrize("words", [["run", "--rm"], ["run", "-d", "--rm"], ["exec"], ["attach"], ["start"]])
def test_keys_that_are_none_are_refused(store: Path, words: list[str]) -> None:
    """Whether or not anything is typed, and before anything is started."""
    done = nbc(store, *words, "--detach-keys", "ctrl-x,later", "toolbox", "true", code=125)
    assert "not a key: 'later'" in done.stderr
    assert not nbc(store, "ps", "-aq", code=0).stdout


def test_a_terminal_for_output_alone(store: Path) -> None:
    """``-t`` without ``-i`` gives the program a terminal wherever this is run; ``-it`` wants a terminal here."""
    assert nbc(store, "run", "--rm", "-t", "toolbox", "sh", "-c", "tty; echo error >&2", code=0).stdout.split() == [
        "/dev/pts/0",
        "error",
    ]
    assert "not a TTY" in nbc(store, "run", "--rm", "-it", "toolbox", "true", code=1).stderr


def test_exec_says_how_it_ended(store: Path) -> None:
    """The command's own code, 126 and 127 but where nobody waits for it, standard input, and what docker's flags say."""
    nbc(store, "run", "-d", "--name", "host", "-e", "A=a", "toolbox", "sleep", "600", code=0)
    words = ("exec", "-i", "-e", "B=b", "-w", "/tmp", "host", "sh", "-c")
    assert nbc(store, *words, "echo $A $B $PWD; cat; exit 9", stdin="in\n", code=9).stdout == "a b /tmp\nin\n"
    assert "not found" in nbc(store, "exec", "host", "no-such", code=127).stderr
    nbc(store, "exec", "host", "/etc/passwd", code=126)
    assert "not an absolute path" in nbc(store, "exec", "-w", "tmp", "host", "true", code=126).stderr
    assert "not found" in nbc(store, "exec", "-d", "host", "no-such", code=1).stderr
    nbc(store, "exec", "-d", "host", "touch", "/tmp/made", code=0)
    nbc(store, "exec", "host", "sh", "-c", "until [ -e /tmp/made ]; do sleep 0.05; done", code=0)
    assert "no such container" in nbc(store, "exec", "nobody", "true", code=1).stderr
    nbc(store, "rm", "-f", "host", code=0)


def test_a_program_that_start_does_not_find(store: Path) -> None:
    """``start`` says 1 of it, with ``-a`` and without, where ``run`` says 127: as in docker."""
    nbc(store, "create", "--name", "lost", "toolbox", "no-such", code=0)
    for flags in ((), ("-a",)):
        assert "not found" in nbc(store, "start", *flags, "lost", code=1).stderr
    nbc(store, "rm", "lost", code=0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 41), (signal.SIGTERM, 42), (signal.SIGUSR1, 43)])
def test_signals_reach_a_program_that_handles_them(store: Path, number: int, code: int) -> None:
    """They are for the container's program, and its exit code is ours."""
    script = "trap 'exit 41' INT; trap 'exit 42' TERM; trap 'exit 43' USR1; echo ready; while :; do sleep 0.1; done"
    assert signalled(store, number, script)[0] == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_that_it_does_not_handle_end_it(store: Path, number: int, code: int) -> None:
    """The kernel would keep them from a first process for ever: we stop it ourselves.

    It is tail that says the first word: the shell, which has a handler of its own for an interrupt, would take it to the grave
    if it came just before exec.
    """
    assert signalled(store, number, "exec tail -f /etc/hostname")[0] == code
    assert nbc(store, "ps", "-q").stdout == ""


def signalled(store: Path, number: int, script: str) -> tuple[int, str]:
    """(exit code, output) of a run that gets a signal once it has said that it is ready."""
    command = [sys.executable, "-m", "nbcontainers", "run", "--rm", "toolbox", "sh", "-c", script]
    with subprocess.Popen(command, env=environment(store), stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        said = program.stdout.readline()
        program.send_signal(number)
        said += program.stdout.read()
        return program.wait(PATIENCE_S), said.decode()


def test_an_interrupt_before_it_has_begun() -> None:
    """While its modules are still being read: 130, and no traceback."""
    code = """
import sys
class Pressed:
    def find_spec(self, name, *rest):
        if name == "nbcontainers.engine":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Pressed())
from nbcontainers.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("made", ["run -d -i", "create -i -a stdout"])
def test_the_end_of_one_input_leaves_that_of_a_container_open(store: Path, made: str) -> None:
    """As docker's StdinOnce has it: another client goes on writing, where the container was made for no client's input.

    That of one in the foreground ends it, as of a pipe.
    """
    nbc(store, *made.split(), "--name", "reads", "--network", "none", "toolbox", "cat", code=0)
    nbc(store, "start", "reads", code=0)
    for word in (b"one\n", b"two\n"):
        words = [sys.executable, "-m", "nbcontainers", "attach", "reads"]
        with subprocess.Popen(words, env=environment(store), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attached:
            assert attached.stdin is not None
            assert attached.stdout is not None
            attached.stdin.write(word)
            attached.stdin.close()
            assert attached.stdout.readline() == word
            time.sleep(0.2)  # for the end of the input, which comes after what was read
            attached.kill()
    assert nbc(store, "inspect", "-f", "{{.State.Running}} {{.Config.StdinOnce}}", "reads").stdout == "true false\n"
    nbc(store, "rm", "-f", "reads", code=0)
    assert nbc(store, "run", "-i", "--rm", "--network", "none", "toolbox", "cat", stdin="x", code=0).stdout == "x"


def test_whose_end_the_end_of_an_input_is_was_said_when_the_container_was_made(store: Path) -> None:
    """However it is started later: ``create`` makes it to be attached to, ``run -d`` does not."""
    nbc(store, "create", "-i", "--name", "once", "--network", "none", "toolbox", "cat", code=0)
    nbc(store, "start", "once", code=0)
    assert nbc(store, "attach", "once", stdin="x", code=0).stdout == "x"
    nbc(store, "run", "-d", "-i", "--name", "lasting", "--network", "none", "toolbox", "cat", code=0)
    nbc(store, "restart", "-t", "0", "lasting", code=0)
    shown = "{{.State.Running}} {{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}"
    assert nbc(store, "inspect", "-f", shown, "once").stdout == "false true true true true\n"
    assert nbc(store, "inspect", "-f", shown, "lasting").stdout == "true false false true false\n"
    nbc(store, "start", "once", code=0)
    assert nbc(store, "inspect", "-f", shown, "once").stdout == "true true true true true\n"
    nbc(store, "rm", "-f", "once", "lasting", code=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_without_sig_proxy_a_signal_ends_the_client_alone(store: Path, number: signal.Signals) -> None:
    """It dies by the signal, as docker's does, and the container goes on."""
    name = f"proxied{number}"
    words = ["run", "--sig-proxy=false", "--name", name, "--network", "none", "toolbox"]
    with subprocess.Popen(
        [
            "env",
            "--default-signal=HUP",
            sys.executable,
            "-m",
            "nbcontainers",
            *words,
            "sh",
            "-c",
            "echo up; exec sleep 600",
        ],
        env=environment(store),
        stdout=subprocess.PIPE,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.send_signal(number)
        assert client.wait(PATIENCE_S) == -number
    time.sleep(0.3)  # it would be ended by now
    assert nbc(store, "inspect", "-f", "{{.State.Running}}", name).stdout == "true\n"


def test_a_terminal_that_is_closed_leaves_its_container_to_itself(store: Path) -> None:
    """As docker's does."""
    words = ["run", "-it", "--name", "hung-up", "--network", "none", "toolbox", "sh", "-c", "echo up; exec sleep 600"]
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
        os.execve(sys.executable, [sys.executable, "-m", "nbcontainers", *words], environment(store))
    said = b""
    while b"up" not in said:
        said += os.read(terminal, 1 << 10)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
    time.sleep(0.3)
    assert nbc(store, "inspect", "-f", "{{.State.Running}}", "hung-up").stdout == "true\n"


def test_a_terminal_that_is_closed_while_it_is_written_to_leaves_its_container(store: Path) -> None:
    """Whoever started the client may pass the signal on late, or not at all; and the next client types on where this one was."""
    line = "cat & while sleep 0.01; do echo x; done"
    words = ["run", "-it", "--name", "written", "--network", "none", "toolbox", "sh", "-c", line]
    client = shlex.join([sys.executable, "-m", "nbcontainers", *words])
    child, terminal = pty.fork()
    if not child:  # a shell that lives on, and keeps the signal to itself
        os.execve("/bin/sh", ["sh", "-c", f"trap '' HUP; {client}; sleep 600"], environment(store))
    said = b""
    while b"x" not in said:
        said += os.read(terminal, 1 << 10)
    os.close(terminal)
    time.sleep(1)  # it would be ended by now
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert nbc(store, "inspect", "-f", "{{.State.Running}}", "written").stdout == "true\n"
