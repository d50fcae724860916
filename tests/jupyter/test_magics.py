"""The magics in a real kernel, with real images and containers."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers.jupyter import words
from nbcontainers.jupyter.calm import in_notebook
from tests.jupyter import samples
from tests.jupyter.conftest import ROOT
from tests.waiting import HICCUP_S, PATIENCE_S, until

WIDGET = "application/vnd.jupyter.widget-view+json"


def processes_with(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def test_loading_is_quick_and_imports_nothing_that_is_not_used() -> None:
    """No widget, no network and no engine before a magic is used; a measure is kept in tests/benchmarks."""
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "from tests.waiting import clock\n"
        "before = set(sys.modules); began = clock()\n"
        "shell.run_line_magic('load_ext', 'nbcontainers')\n"
        "took = clock() - began\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = 'anywidget ipywidgets socket ssl http urllib requests asyncio elftools isal sqlite3'\n"
        "print(sorted(new & set(heavy.split())))\n"
        "own = tuple('nbcontainers.' + name for name in 'store runtime build engine linux analysis'.split())\n"
        "print([name for name in sys.modules if name.startswith(own)])\n"
        "print(took)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    foreign, own, took = done.stdout.strip().splitlines()[-3:]
    assert foreign == "[]"
    assert own == "[]"
    assert float(took) < 1 + HICCUP_S, "the target is 0.15"


def test_a_build_shows_its_steps_and_then_the_layers(kernel) -> None:
    """As a widget, as HTML and as text; the notebook keeps how it ended."""
    built = kernel.run("%%dockerfile -t steps\nFROM hello\nRUN echo '\\033[32mgreen\\033[0m'\nENV A=1\n")
    (output,) = built.outputs
    assert {WIDGET, "text/html", "text/plain"} <= set(output)
    assert re.search(r"steps:latest: built in \d", output["text/plain"])
    assert "RUN echo" in output["text/plain"]
    assert "efficiency" in output["text/plain"]
    assert "efficient" in output["text/html"]
    assert built.stdout == built.stderr == ""


def test_a_build_reads_the_working_directory(kernel) -> None:
    """``COPY`` finds what lies beside the notebook."""
    assert kernel.run("%run_container --rm hello").stdout == "hello from a file\n"


def test_a_failed_build_fails_the_cell_without_a_traceback(kernel) -> None:
    """The reader sees the Dockerfile's lines, the end of the output and the hint, once."""
    failed = kernel.run("%%dockerfile\nFROM hello\nRUN echo one; echo two >&2; \\\n    exit 4\n")
    assert failed.error["ename"] == "BuildError"
    assert "Traceback" not in failed.traceback
    assert failed.traceback.count("\n") == 0
    assert "> 3 |     exit 4" in failed.text
    assert "    two" in failed.text
    assert failed.html.count("<mark>") == 2
    after = kernel.run("print('not run')") if failed.error is None else kernel.run("1")
    assert after.error is None


def test_a_build_in_python_that_fails_shows_the_end_of_its_output(kernel) -> None:
    """The engine's error, too, is told without a traceback, with what the step wrote last and no escape of it."""
    output = "seq 100; printf '50%%\\r\\033[31mred\\033[0m\\007\\n'; exit 3"
    failed = kernel.run(
        f"from nbcontainers import Engine\nwith Engine() as e:\n    e.build({f'FROM hello{chr(10)}RUN {output}'!r})"
    )
    assert failed.error["ename"] == "BuildError"
    first, *lines, hint = failed.traceback.split("\n")
    assert "exit code 3" in first
    assert lines == [*(f"    {number}" for number in range(90, 101)), "    red"]
    assert hint == "hint: its output says why"
    silent = kernel.run("with Engine() as e:\n    e.build('FROM hello\\nRUN exit 3')")
    assert silent.traceback.count("\n") == 1


def test_a_dockerfile_that_is_none_says_where(kernel) -> None:
    """Before anything runs."""
    failed = kernel.run("%%dockerfile\nFROM hello\nRUNN true\n")
    assert failed.error["ename"] == "DockerfileError"
    assert "> 2 | RUNN true" in failed.text


def test_the_output_comes_with_its_colours_and_no_other_escape(kernel) -> None:
    """Standard output and error apart, in the order they came."""
    ran = kernel.run(
        "%run_container --rm hello sh -c 'printf \"\\033[31mred\\033[0m\\033[2J\\033]0;owned\\007 plain\\n\"; echo oops >&2'"
    )
    assert ran.stdout == "\x1b[31mred\x1b[0m plain\n"
    assert ran.stderr == "oops\n"
    assert ran.error is None


def test_a_cell_is_a_script_on_standard_input(kernel) -> None:
    """Whatever its size."""
    ran = kernel.run(
        "%%run_container --rm hello sh\nset -e\necho $((6 * 7))\nfor word in a b; do echo $word {x} ${HOME}; done"
    )
    assert ran.stdout == "42\na {x} /root\nb {x} /root\n"
    big = kernel.run("%%run_container --rm hello wc -c\n" + "x" * 300_000)
    assert big.stdout.strip() in ("300000", "300001")


def test_an_exit_code_is_one_calm_line(kernel) -> None:
    """The cell has not failed; a container's end is no error of the notebook."""
    ran = kernel.run("%run_container --rm hello sh -c 'exit 3'")
    assert ran.error is None
    assert re.fullmatch(r"exited with code 3 after [\d.]+ s", ran.text)
    assert "nbcf line" in ran.html


def test_a_script_is_typed_at_no_terminal(kernel) -> None:
    """Whose end the program would wait for in vain: it is refused, before anything runs. A command alone may have one."""
    for flags in ("-t", "-it", "-i --tty"):
        refused = kernel.run(f"%%run_container {flags} --name typed hello sh\ntty\n")
        assert "both -t and a script" in refused.traceback
        assert "leave out -t" in refused.traceback
    assert "typed" not in kernel.run("%containers -a").text
    assert kernel.run("%%run_container -i --rm hello sh\ntty\n").stdout == "not a tty\n"
    assert kernel.run("%run_container -t --rm hello tty").stdout.startswith("/dev/")


def test_memory_that_ran_out_is_said_to_have(kernel) -> None:
    """Not exit code 137 alone."""
    ran = kernel.run("%run_container --rm -m 32m hello python3 -c 'x = \"a\" * 10**9'")
    assert ran.error is None
    if "not enforced" in ran.text or "watched" in ran.text:
        pytest.skip("needs a memory cgroup")
    assert "ran out of memory: its limit is 32MiB" in ran.text


def test_the_interrupt_button_stops_a_container_within_a_second(kernel) -> None:
    """No process is left; with --rm no container, without it a stopped one."""
    word = f"3141.{os.getpid()}"
    waits = f"hello sh -c 'echo begun; exec sleep {word}'"
    stopped = kernel.run(f"%run_container --rm --name gone {waits}", interrupt_after="begun")
    assert stopped.error["ename"] == "Interrupted"
    assert stopped.traceback.count("\n") == 0
    assert stopped.seconds < 1 + HICCUP_S, "half a second to end by itself"
    assert processes_with(word) == []
    kept = kernel.run(f"%run_container --name kept {waits}", interrupt_after="begun")
    assert "it is kept" in kept.traceback
    listed = kernel.run("%containers -a").text
    assert "gone" not in listed
    assert re.search(r"Exited .* kept", listed)
    again = kernel.run("%run_container --rm --replace --name kept hello true")
    assert again.error is None


def test_an_interrupted_cell_gives_its_container_the_time_that_it_was_given(kernel) -> None:
    """By --stop-timeout: it ends by itself then."""
    script = "trap 'sleep 1; echo tidied; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
    kernel.run(
        f'%run_container --name tidy --network none --stop-timeout 60 hello sh -c "{script}"', interrupt_after="begun"
    )
    assert "tidied" in kernel.run("!nbcontainers logs tidy").stdout
    kernel.run("!nbcontainers rm -f tidy")


def test_the_interrupt_button_stops_whatever_waits(kernel) -> None:
    """A command in a container, its log, its usage; a registry that says nothing, whoever asks it. Each is told in one line."""
    word = f"2718.{os.getpid()}"
    started = kernel.run("%run_container -d --name ticks hello sh -c 'while :; do echo tick; sleep 0.2; done'")
    assert started.error is None, started.traceback
    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.ExitStack() as answered:
        silent.setblocking(False)

        def asked() -> bool:
            with contextlib.suppress(BlockingIOError):
                answered.enter_context(silent.accept()[0])
                return True
            return False

        image = f"127.0.0.1:{silent.getsockname()[1]}/nothing:1"
        rules = kernel.folder / "registries.toml"  # those of the tests block every registry
        rules.write_text(f'[registry."127.0.0.1:{silent.getsockname()[1]}"]\ninsecure = true\n')
        before = os.environ["NBCONTAINERS_REGISTRIES"]
        assert kernel.run(f"%env NBCONTAINERS_REGISTRIES={rules}").error is None
        for code, after in (
            (f"%nbc exec ticks sh -c 'echo begun; exec sleep {word}'", "begun"),
            ("%nbc logs -f ticks", "tick"),
            ("%nbc stats ticks", "ticks"),
            (f"%nbc pull {image}", asked),
            (f"%run_container --rm {image}", asked),
        ):
            stopped = kernel.run(code, interrupt_after=after)
            assert stopped.error["ename"] == "Interrupted", f"{code}\n{stopped.traceback}"
            assert stopped.traceback.count("\n") == 0
            assert stopped.seconds < 5, code
    assert processes_with(word) == []
    assert kernel.run(f"%env NBCONTAINERS_REGISTRIES={before}").error is None
    rules.unlink()
    assert kernel.run("%nbc rm -f ticks").error is None


def test_an_interrupted_build_is_stopped(kernel) -> None:
    """In one line; the page shows how far it came."""
    word = f"1618.{os.getpid()}"
    stopped = kernel.run(
        f"%%dockerfile\nFROM hello\nRUN sleep {word}\n", interrupt_after=lambda: processes_with(f"sleep\0{word}")
    )
    assert stopped.error["ename"] == "Interrupted"
    assert "stopped" in stopped.text
    assert processes_with(word) == []


def test_errors_are_told_in_two_lines(kernel) -> None:
    """What was wanted, and what to do."""
    for line, name in (
        ("%layers nothing", "NotFound"),
        ("%run_container", "UsageError"),
        ("%run_container --rm hello nosuchprogram", "LaunchError"),
        ("%nbc frobnicate", "UsageError"),
        ("%run_container {unknown} true", "NBContainersError"),
    ):
        failed = kernel.run(line)
        assert failed.error["ename"] == name, line
        assert "Traceback" not in failed.traceback
        assert failed.traceback.count("\n") <= 1


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("'nbcontainers ps -a' and 'nbcontainers images' list them", "'%nbc ps -a' and '%nbc images' list them"),
        ("see 'nbcontainers network --help'", "see '%nbc network --help'"),
        ("nbcontainers doctor shows what it may", "%nbc doctor shows what it may"),
        ("see 'nbcontainers --help'", "see '%nbc --help'"),
        ("run nbcontainers under a Python of its own", "run nbcontainers under a Python of its own"),
        ("look at /var/lib/nbcontainers rm is no way", "look at /var/lib/nbcontainers rm is no way"),
    ],
)
def test_a_hint_speaks_of_magics(hint: str, told: str) -> None:
    """Where it speaks of the command line, which is not where the reader is."""
    assert in_notebook(hint) == told


def test_errors_hint_at_magics(kernel) -> None:
    """Those that end a cell, those that a verb tells before it goes on, and those of a build."""
    assert "'%nbc images' shows" in kernel.run("%layers nothinglikeit").traceback
    assert "see '%nbc --help'" in kernel.run("%nbc zzzzz").traceback
    assert "'%nbc ps -a' lists them" in kernel.run("%nbc rm nothinglikeit neither").stderr
    built = kernel.run("%%dockerfile\nFROM scratch\nCOPY --from=nothinglikeit /a /b\n")
    assert built.error is not None
    assert "nbcontainers " not in built.text + built.traceback


def test_what_the_host_allows_has_a_form_of_its_own(kernel) -> None:
    """A table on the page, and as text what the command line prints; another format is printed."""
    told = kernel.run("%nbc doctor")
    assert "user namespace" in told.html
    assert "user namespace" in told.text
    assert '"tier"' in kernel.run("%nbc doctor --format json").stdout.lower()


def test_results_are_bound_to_variables(kernel) -> None:
    """``--as`` gives Python what the magic made, and a variable in braces gives it back."""
    kernel.run("%layers hello --as stack")
    assert kernel.run("print(stack.name, len(stack.layers) > 2)").stdout == "hello:latest True\n"
    assert kernel.run("%run_container --rm {made} echo same").stdout == "same\n"
    kernel.run("%run_container -d --name counted hello sleep 600")
    kernel.run("%containers --as running")
    assert kernel.run("print([one.name for one in running])").stdout == "['counted']\n"
    assert "holds no word" in kernel.run("%nbc rm -f {running}").traceback
    assert kernel.run("%nbc rm nothing").error is not None
    assert kernel.run("one = running[0]").error is None
    assert kernel.run("%nbc rm -f {one}").error is None


def test_variables_are_pythons(kernel) -> None:
    """Also behind an ``=``, where an editor asks what is dubious too."""
    kernel.run("greeting = 'good day'")
    assert kernel.run("%run_container --rm -e V={greeting} hello sh -c 'echo $V'").stdout == "good day\n"
    assert (
        kernel.run("%nbc run --rm --env=V={greeting} hello sh -c 'echo $V {greeting}'").stdout
        == "good day {greeting}\n"
    )
    built = kernel.run("%%dockerfile --build-arg A={greeting}\nFROM hello\nARG A\nRUN test \"$A\" = 'good day'\n")
    assert built.error is None
    asked = "%%dockerfile --build-arg A={greeting}\nFROM scratch\nMAINTAINER me\n"
    told = kernel.run(
        f"from nbcontainers.jupyter import checking\nprint([one['rule'] for one in checking.of({asked!r})])"
    )
    assert told.stdout == "['MaintainerDeprecated']\n"


def test_a_functions_own_variables_come_first(kernel) -> None:
    """As in Python: the local one, else the notebook's; a loop sees each value."""
    kernel.run("where, word = 'nosuchimage', 'the notebook'")
    kernel.run(
        "def greet(where, *, loud=False):\n"
        "    for number in (1, 2):\n"
        "        %run_container --rm -e A={number} -e B={word} {where} sh -c 'echo $A $B'\n"
        "    %nbc run --rm -e A={where} {where} sh -c 'echo $A'\n"
    )
    called = kernel.run("greet('hello')")
    assert called.error is None, called.traceback
    assert called.stdout == "1 the notebook\n2 the notebook\nhello\n"
    assert kernel.run("%layers {where}").error["ename"] == "NotFound"
    cell = kernel.run("where = 'hello'\n%layers {where} --as stack_of")
    assert cell.error is None, cell.traceback
    assert kernel.run("print(stack_of.name)").stdout == "hello:latest\n"


def test_results_show_themselves(kernel) -> None:
    """A stack, a difference or a build that is the value of a cell looks as its magic shows it."""
    for code in (
        "stack",
        "from nbcontainers import Engine\nwith Engine() as e: d = e.image_diff('toolbox', 'hello')\nd",
    ):
        (output,) = kernel.run(code).outputs
        assert {WIDGET, "text/html", "text/plain"} <= set(output), code
    (output,) = kernel.run("made").outputs
    assert "hello:latest" in output["text/plain"]
    assert WIDGET not in output


def test_lists_are_tables(kernel) -> None:
    """Docker's columns; ``--format`` and ``-q`` print."""
    listed = kernel.run("%images")
    assert "REPOSITORY" in listed.text
    assert "<table>" in listed.html
    assert 'aria-label="Images"' in listed.html
    assert kernel.run("%images --format '{{.Repository}}'").stdout.split().count("hello") == 1
    assert kernel.run("%containers").text == "No container is running."


def test_lists_are_of_what_was_asked_for(kernel) -> None:
    """A name, filters and counts choose, and more columns are shown, as on the command line; ``--as`` binds what is listed."""
    for number in (1, 2):
        assert kernel.run(f"%run_container --name listed{number} hello true").error is None
    assert kernel.run("%images nosuch").text == "No such image."
    assert "toolbox" not in kernel.run("%images hel* --as those").text
    assert kernel.run("print({one.reference.familiar_name for one in those})").stdout == "{'hello'}\n"
    assert "toolbox" not in kernel.run("%images --filter dangling=true").text
    digests = kernel.run("%images -a --digests hello")
    assert "DIGEST" in digests.text
    assert "sha256:" in digests.html
    assert kernel.run("%containers -n 0").text == "No container."
    latest = kernel.run("%containers -l -s --as last")
    assert "listed2" in latest.text
    assert "listed1" not in latest.text
    assert "(virtual " in latest.text
    assert "(virtual " in latest.html
    assert kernel.run("print([one.name for one in last])").stdout == "['listed2']\n"
    both = kernel.run("%containers --filter status=exited --filter name=listed")
    assert "listed1" in both.text
    assert "listed2" in both.text
    assert kernel.run("%containers -q -l").stdout.count("\n") == 1
    assert kernel.run("%nbc rm listed1 listed2").error is None


def test_usage_returns_at_once_and_ends_with_the_container(kernel) -> None:
    """The samples come from a thread, while other cells run; the notebook keeps the last."""
    kernel.run("%run_container -d --rm --name busy hello sh -c 'while :; do :; done'")
    shown = kernel.run("%cgroups busy")
    assert shown.seconds < 1 + HICCUP_S
    assert WIDGET in shown.outputs[0]
    assert "busy" in shown.text
    threads = "import threading; print([t.name for t in threading.enumerate() if t.name == 'nbcontainers-watch'])"
    assert "nbcontainers-watch" in kernel.run(threads).stdout
    assert kernel.run("%nbc kill busy").error is None
    until(lambda: "nbcontainers-watch" not in kernel.run(threads).stdout)
    assert kernel.run("%cgroups nothing").error["ename"] == "NotFound"


def test_what_a_watch_without_names_has_seen_is_kept_before_it_ends(kernel) -> None:
    """Each container when it is measured, and how it ended: not every sample, for each costs a message."""
    kernel.run("from ipywidgets import Widget; Widget.close_all()")  # watches of other tests
    shown = kernel.run("%cgroups")
    assert WIDGET in shown.outputs[0]
    assert "passing" not in shown.text
    kernel.client.execute("%run_container -d --name passing hello sleep 600")
    assert kernel.updated("passing", "running", "%") == 1
    # several samples, none of which must be told: what does not come cannot be waited for
    kernel.client.execute("import time; time.sleep(1.5)\n%nbc kill passing")
    assert kernel.updated("passing", "SIGKILL") == 1
    assert kernel.run("%nbc rm passing").error is None
    kernel.run("Widget.close_all()")


def test_the_command_line_is_there(kernel) -> None:
    """Every verb, through the same parser; a code that is not zero is one calm line."""
    assert kernel.run("%nbc version").stdout.startswith("nbcontainers ")
    ran = kernel.run("%nbc run --rm hello sh -c 'printf \"\\033[2Jx\"; exit 7'")
    assert ran.stdout == "x"
    assert "exited with code 7" in ran.text
    assert "usage: nbcontainers" in kernel.run("%nbc").stdout
    assert "usage: %run_container" in kernel.run("%run_container --help").stdout


def test_a_code_that_is_not_zero_says_what_it_means(kernel, tmp_path: Path) -> None:
    """The code of a program in a container is told; lint has found something, and did not fail."""
    assert kernel.run("%run_container -d --name held hello sleep 600").error is None
    ran = kernel.run("%nbc exec held sh -c 'echo here; exit 5'")
    assert ran.error is None, ran.traceback
    assert ran.stdout == "here\n"
    assert ran.text == "exited with code 5"
    assert kernel.run("%nbc rm -f held").error is None
    (tmp_path / "Dockerfile").write_text("FROM scratch\nMAINTAINER me\n")
    for line in (f"%nbc lint {tmp_path}", f"%nbc build --check {tmp_path}"):
        found = kernel.run(line)
        assert "MaintainerDeprecated" in found.stdout
        assert "something in the Dockerfile is dubious" in found.traceback
    assert "rm could not do all of it" in kernel.run("%nbc rm nothing nowhere").traceback


@pytest.mark.parametrize("line", ["rm nothing", "start nothing", "inspect nothing", "pause nothing"])
def test_what_cannot_be_done_is_the_error_of_its_cell(kernel, line: str) -> None:
    """It is told once, nothing else beside it, and the cells that follow are not run."""
    ran = kernel.run(f"%nbc {line}")
    assert (ran.stdout, ran.stderr, ran.outputs) == ("", "", [])
    assert "no such container" in ran.traceback
    assert "hint: " in ran.traceback


def test_widgets_can_be_turned_off(kernel, tmp_path, environment) -> None:
    """For notebooks that are executed without a reader: HTML and text are all that is kept."""
    kernel.run("import os; os.environ['NBCONTAINERS_WIDGETS'] = 'off'")
    try:
        for code in ("%layers hello", "%image_diff toolbox hello", "%%dockerfile\nFROM hello\nENV B=2"):
            (output,) = kernel.run(code).outputs
            assert set(output) == {"text/html", "text/plain"}, code
            assert "built" in output["text/html"] or "%%dockerfile" not in code
        kernel.run("%run_container -d --rm --name quiet hello sleep 600")
        assert set(kernel.run("%cgroups quiet").outputs[0]) == {"text/html", "text/plain"}
        assert kernel.run("%nbc rm -f quiet").error is None
    finally:
        kernel.run("del os.environ['NBCONTAINERS_WIDGETS']")


def test_in_a_terminal_there_is_text(kernel, environment, store) -> None:
    """IPython without a kernel: the steps as lines, the layers as a table, and no widget is imported."""
    code = (
        "import sys\n"
        "get_ipython().run_line_magic('load_ext', 'nbcontainers')\n"
        "get_ipython().run_cell_magic('dockerfile', '-t term', 'FROM hello\\nENV C=3\\n')\n"
        "get_ipython().run_line_magic('layers', 'term')\n"
        "get_ipython().run_line_magic('run_container', '--rm hello')\n"
        "get_ipython().run_line_magic('cgroups', '')\n"
        "print('anywidget' in sys.modules)\n"
        "get_ipython().run_line_magic('layers', 'nothing')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=nocolor", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=5 * PATIENCE_S,
    )
    assert "[2/2]" in done.stderr or "[1/1]" in done.stderr
    assert done.stdout.count("term:latest") == 2
    assert "hello from a file" in done.stdout
    assert "no container is running" in done.stdout
    assert "False" in done.stdout
    assert "NotFound" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_words_are_completed(kernel) -> None:
    """Flags by the table, images where an image is wanted, containers where one is."""

    def completed(line: str) -> set[str]:
        reply = kernel.client.complete(line, len(line), reply=True, timeout=PATIENCE_S)
        return set(reply["content"]["matches"])

    def whole(line: str) -> str:
        reply = kernel.client.complete(line, len(line), reply=True, timeout=PATIENCE_S)["content"]
        return line[: reply["cursor_start"]] + reply["matches"][0]

    assert "--memory" in completed("%run_container --me")
    assert "--build-arg" in completed("%%dockerfile --b")
    assert "hello:latest" in completed("%layers he")
    assert "hello:latest" in completed("%image_diff toolbox he")
    assert "hello:latest" in completed("%run_container --rm he")
    assert "hello:latest" not in completed("%run_container toolbox ls he")
    assert "image-diff" in completed("%nbc image-")
    assert "--no-stream" in completed("%nbc stats --no-s")
    assert whole("%layers hello:la") == "%layers hello:latest"
    assert whole("%nbc image-diff --f") == "%nbc image-diff --format"
    assert whole("%%dockerfile -t x\nfr") == "%%dockerfile -t x\nFROM"
    assert whole("%%dockerfile -t x\nFROM hello:la") == "%%dockerfile -t x\nFROM hello:latest"
    assert whole("%%dockerfile\nFROM hello AS one\nCOPY --from=o") == "%%dockerfile\nFROM hello AS one\nCOPY --from=one"
    assert whole("%%dockerfile\nFROM hello\nCOPY gre") == "%%dockerfile\nFROM hello\nCOPY greet.txt"
    assert completed("impor") >= {"import"}, "Python's own are as they were"


def test_nothing_else_is_offered_behind_a_magic(kernel) -> None:
    """No word of Python, no file and no other magic, but where a path or a variable is wanted; what a flag may be, where that is told."""

    def completed(line: str) -> set[str]:
        reply = kernel.client.complete(line, len(line), reply=True, timeout=PATIENCE_S)
        return set(reply["content"]["matches"])

    for line in (
        "%run_container -m ",
        "%run_container --name i",
        "%run_container toolbox ",
        "%cgroups ",
        "%nbc rm i",
        "%nbc network create ",
        "%nbc nosuchverb ",
        "%%dockerfile\nRUN i",
        "%%dockerfile -t ",
        "%images nosuch",
    ):
        assert completed(line) == set(), line
    assert completed("%run_container --pull ") == {"always", "missing", "never"}
    assert completed("%run_container --pull=al") == {"--pull=always"}
    assert completed("%images --format ") == {"table", "json"}
    assert completed("%nbc inspect --format ") == {"json"}
    assert completed("%run_container --restart on") == {"on-failure"}
    for verb in ("network", "volume"):
        assert kernel.run(f"%nbc {verb} create offered").error is None
    assert completed("%run_container --network ") == {"none", "host", "bridge", "offered"}
    assert completed("%nbc network rm ") == {"offered"}
    assert completed("%nbc volume rm ") == {"offered"}
    assert completed("%nbc volume inspect off") == {"offered"}
    for verb in ("network", "volume"):
        assert kernel.run(f"%nbc {verb} rm offered").error is None
    kernel.run("offered_variable = 'hello'")
    assert "greet.txt" in completed("%nbc load --input gre")
    assert any("offered_variable" in word for word in completed("%layers {offered_v"))
    flags = completed("%%dockerfile -")
    assert {"--tag", "--build-arg", "--as"} <= flags
    assert not flags & {"--file", "--quiet", "--check", "--progress", "--explain"}


@pytest.mark.parametrize("name", [*words.MAGICS, "nbc"])
def test_a_question_mark_shows_how_a_magic_is_used(name: str) -> None:
    """What it does, its words, examples that the magic itself would read, and where the rest is told."""
    from nbcontainers.cli import parser
    from nbcontainers.jupyter.magics import ContainerMagics

    told = inspect.getdoc(getattr(ContainerMagics, name))
    assert "Examples:" in told
    assert "--help" in told.splitlines()[-1]
    examples = re.findall(rf"^ +%+{name}\b(.*)$", told, re.MULTILINE)
    assert examples
    for example in examples:
        if name == "nbc":
            parser.parse(words.split(example))
        else:
            words.read(name, example, {})


def test_the_extension_can_be_unloaded_and_loaded_again(kernel) -> None:
    """Nothing of it stays."""
    assert kernel.run("%unload_ext nbcontainers").stdout == ""
    assert kernel.run("%layers hello").stderr.startswith("UsageError: Line magic function `%layers` not found")
    assert kernel.run("%load_ext nbcontainers").error is None
    assert "hello:latest" in kernel.run("%layers hello").text


def test_what_a_container_writes_is_never_markup(kernel) -> None:
    """Neither its output, nor its name, nor a file's."""
    written = kernel.run(f"%run_container --rm hello echo '{samples.HOSTILE}'")
    assert written.stdout == samples.HOSTILE + "\n"
    assert written.outputs == []
    built = kernel.run(
        f"%%dockerfile -t hostile\nFROM hello\nRUN echo '{samples.HOSTILE}' && touch '/{samples.HOSTILE}'\n"
    )
    assert built.error is None
    assert "<img" not in built.html
    assert "&lt;img src=x" in built.html
    shown = kernel.run("%image_diff hello hostile")
    assert "<img" not in shown.html


def test_a_cell_that_is_not_trusted_runs_in_a_sandbox(kernel) -> None:
    """Python, or what is named; without network; its limits are told when they are reached, and interrupting ends it."""
    ran = kernel.run("%%sandbox\nimport os\nprint(6 * 7, os.listdir('/sys/class/net'), {'x': 1})")
    assert ran.stdout == "42 ['lo'] {'x': 1}\n"
    assert kernel.run("%%sandbox sh\ntouch /x 2>/dev/null || echo $((6 * 7))").stdout == "42\n"
    slow = kernel.run("%%sandbox --timeout 1\nwhile True: pass")
    assert slow.error is None
    assert "ended because it ran longer than its limit of 1 second" in slow.text
    assert "1 seconds" not in slow.text
    loud = kernel.run("%%sandbox --output-limit 1m sh\nyes | head -c 30000000")
    assert "ended because it wrote more than its limit of 1 MiB" in loud.text
    opened = kernel.run("%%sandbox --network host\n1")
    assert "would open the sandbox" in str(opened.error)
    stopped = kernel.run("%%sandbox\nimport time\nprint('begun', flush=True)\ntime.sleep(999)", interrupt_after="begun")
    assert "was stopped" in str(stopped.error) + stopped.text
    assert "sandbox" not in kernel.run("%containers -a").text


def test_what_is_not_enforced_is_open_once(kernel) -> None:
    """Who runs cell after cell has read it; it is there all the same, and what is new is told in full."""
    kernel.run("from nbcontainers.jupyter import show")
    memory, reason = "memory is watched" + 9 * ", and some more of that", "no group"
    shown = f"show.not_enforced(['{memory} ({reason})', 'cpu is not limited ({reason})'])"
    first, again = kernel.run(shown), kernel.run(shown)
    assert first.text == again.text == f"{reason}, so\n  - {memory}\n  - cpu is not limited"
    assert "<details" not in first.html
    assert '<details><summary class="w">Not enforced here: 2</summary>' in again.html
    assert memory in again.html
    for shorter in (f"cpu is not limited ({reason})", "another " + memory):
        assert "<details" not in kernel.run(f"show.not_enforced(['{shorter}'])").html
    assert "<details" in kernel.run(f"show.not_enforced(['another {memory}'])").html


def test_what_a_verb_tells_has_no_red_ground(kernel, tmp_path: Path) -> None:
    """Below a cell standard error looks like a fault: only warnings and errors go there."""
    (tmp_path / "Dockerfile").write_text("FROM toolbox\nRUN echo told\nCMD echo hello\n")
    made, built = kernel.run("%nbc toolbox"), kernel.run(f"%nbc build --progress plain -t told {tmp_path}")
    assert "toolbox:latest: " in made.stdout, made
    assert made.stderr == ""
    assert "RUN echo told" in built.stdout, built
    assert "warning: " in built.stderr, "JSONArgsRecommended"
    assert "RUN" not in built.stderr
