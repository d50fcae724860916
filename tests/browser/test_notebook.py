"""The first notebook as its reader meets it: stored, then run from its first cell to its last."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.browser.lab import KERNEL
from tests.machine import mounts
from tests.waiting import HICCUP_S, clock

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

ROOT = Path(__file__).parent.parent.parent
FIRST = ROOT / "notebooks" / "en" / "01-first-container.ipynb"


def test_a_stored_notebook_shows_its_outputs_without_a_kernel(notebook):
    """Opened as a stranger's, so that nothing in it is trusted: tables and text, no widget, and no error about one."""
    shutil.copy(FIRST, notebook.lab.folder / "stored.ipynb")
    notebook.open_file("stored.ipynb", kernel=False)
    page = notebook.page
    expect(page.get_by_text("efficient").first).to_be_visible()
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.locator(".nbc").count() == 0
    notebook.shot("stored", ".jp-Notebook")


KEPT = """from nbcontainers.jupyter import widgets
from tests.jupyter import samples
widgets.LayersWidget(samples.stack())"""
FOREIGN = """import anywidget
class Foreign(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.textContent = 'drawn by another'; } };"
Foreign()"""


def test_a_notebook_whose_kernel_has_ended_shows_what_it_kept(notebook):
    """Restarted and loaded again: the HTML stands where the widget stood. What others made stays as JupyterLab has it."""
    notebook.run(KEPT, FOREIGN)
    page = notebook.page
    expect(page.locator(".nbc-layers")).to_be_visible()
    expect(page.get_by_text("drawn by another", exact=True)).to_be_visible()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    notebook.restart()
    notebook.reload()
    form = page.locator(".jp-OutputArea-output .nbcf")
    expect(form.get_by_text("Largest files")).to_be_visible()
    expect(page.get_by_text("Error displaying widget: model not found")).to_have_count(1)
    assert page.locator(".nbc").count() == 0
    notebook.look("kept", ".nbcf")
    notebook.start()
    expect(page.locator(".nbc-layers")).to_be_visible()
    expect(form).to_have_count(0)


def test_the_first_notebook_runs_in_the_page(notebook):
    """Every cell: images are built, containers run, the widgets are there, live, and accessible in both themes."""
    shutil.copy(FIRST, notebook.lab.folder / "first.ipynb")
    notebook.open_file("first.ipynb")
    page = notebook.page
    cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.length")
    count = page.evaluate(
        "() => { const all = window.jupyterapp.shell.currentWidget.content.model.cells;"
        " return [...Array(all.length).keys()].filter((n) => all.get(n).type === 'code').length; }"
    )
    assert cells > count > 15
    notebook.start()
    notebook.finished()
    errors = page.evaluate(
        "() => { const all = window.jupyterapp.shell.currentWidget.content.model.cells;"
        " return [...Array(all.length).keys()].map((n) => all.get(n)).filter((c) => c.type === 'code')"
        ".flatMap((c) => c.outputs.toJSON()).filter((o) => o.output_type === 'error'); }"
    )
    assert errors == []
    for name, selector in (
        ("build", ".nbc-build"),
        ("layers", ".nbc-layers"),
        ("diff", ".nbc-diff"),
        ("cgroups", ".nbc-usage"),
    ):
        notebook.reveal(selector)
        notebook.look(f"notebook-{name}", selector)
    expect(page.locator(".nbc-usage .card", has_text="worker")).to_be_visible()
    expect(page.locator(".nbc-usage .card", has_text="glutton")).to_contain_text("memory ran out")


def test_the_tab_key_completes_magics_and_dockerfiles(notebook):
    """In the page's own editor: a verb, an image with its tag, an instruction, a stage."""
    cells = {
        "%nbc image-d": "%nbc image-diff",
        "%layers toolbox:la": "%layers toolbox:latest",
        "%%dockerfile\nFROM toolbox\nENTRY": "%%dockerfile\nFROM toolbox\nENTRYPOINT",
        "%%dockerfile\nFROM toolbox AS one\nCOPY --from=o": "%%dockerfile\nFROM toolbox AS one\nCOPY --from=one",
    }
    notebook.open("%load_ext nbcontainers\n%nbc toolbox", *cells)
    page = notebook.page
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell').then(() => {})")
    page.wait_for_function(KERNEL)
    source = "window.jupyterapp.shell.currentWidget.content.widgets[number].model.sharedModel.source"
    for number, whole in enumerate(cells.values(), 1):
        page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".cm-content").click()
        page.keyboard.press("Control+End")
        page.keyboard.press("Tab")
        # the page offers words of its own as well, so that even a single one of ours may have to be chosen
        page.wait_for_function(
            f"([number, whole]) => {source} === whole || document.querySelector('.jp-Completer:not(.lm-mod-hidden) .jp-Completer-item')",
            arg=[number, whole],
        )
        if page.evaluate(f"number => {source}", number) != whole:
            page.locator(".jp-Completer-item", has_text=whole.split()[-1]).click()
        page.wait_for_function(f"([number, whole]) => {source} === whole", arg=[number, whole])
        page.keyboard.press("Escape")


def test_a_failed_build_and_a_live_run_look_calm(notebook):
    """What is seen most often by those who learn: an error, an exit code, an interrupt."""
    notebook.open(
        "%load_ext nbcontainers",
        "%%dockerfile -t broken\nFROM toolbox\nENV A=1\nRUN echo compiling && \\\n    wc -l letters.txt",
        "%run_container --rm toolbox sh -c 'printf \"\\033[32mgreen\\033[0m and plain\\n\"; exit 3'",
        "%layers nothing",
    )
    page = notebook.page
    for cell in range(4):
        page.evaluate("n => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = n; }", cell)
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell').then(() => {})")
    expect(page.get_by_text("exited with code 3")).to_be_visible()
    expect(page.get_by_text("no such image: nothing")).to_be_visible()
    notebook.look("failure", ".nbc-build")
    for theme in ("Light", "Dark"):
        notebook.theme(theme)
        notebook.settle()
        notebook.shot(f"calm-{theme.lower()}", ".jp-Notebook")


BUILD = """%%dockerfile
FROM toolbox
RUN echo finished > /first # {word}
RUN {command} # {word}
"""


def test_the_interrupt_button_stops_a_build(notebook):
    """Pressed in the toolbar: the cell is over within a second, nothing is left, finished steps are in the cache; all that is said."""
    word = f"halted-{os.getpid()}-{time.monotonic_ns()}"
    sleeps = f"echo waiting for {word}; sleep 1000"
    notebook.open(
        "%load_ext nbcontainers\n%nbc toolbox",
        BUILD.format(word=word, command=sleeps),
        BUILD.format(word=word, command="true"),
    )
    page = notebook.page

    def start(cell: int) -> None:
        page.evaluate("n => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = n; }", cell)
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")

    start(0)
    page.wait_for_function(KERNEL)
    store, before = notebook.lab.folder.parent / "store", mounts()
    start(1)
    expect(page.get_by_role("group", name="Output of the step").last).to_contain_text("waiting for")
    assert left_running(word)
    begun = clock()
    page.get_by_role("button", name="Interrupt the kernel").click()
    notebook.done(2)
    assert clock() - begun < 1 + HICCUP_S
    assert left_running(word) == []
    left = [path for name in ("snapshots", "containers", "ingest", "leases") for path in (store / name).iterdir()]
    assert left == []
    assert mounts() <= before
    build = page.locator(".nbc-build").last
    expect(build.get_by_role("status").first).to_have_text("stopped")
    expect(build.get_by_role("button", name="Step 3: RUN")).to_have_accessible_name(re.compile(", stopped"))
    expect(page.get_by_text("the build was stopped; what it had finished is in the cache")).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0
    notebook.look("build-stopped", ".nbc-build")
    notebook.shot("build-stopped-page", ".jp-Notebook")
    start(2)
    notebook.done(3)
    page.get_by_role("button", name="Show the steps").click()
    expect(page.get_by_role("button", name="Step 2: RUN").last).to_have_accessible_name(re.compile(", cached"))


def left_running(word: str) -> list[str]:
    """The containers' commands with this word in them."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (place / "cmdline").read_bytes()
                if word.encode() in words and words.startswith(b"/bin/sh"):
                    found.append(place.name)
    return found


def test_the_interrupt_button_stops_a_run(notebook):
    """As it is pressed in the toolbar; the reader sees one line."""
    notebook.open("%load_ext nbcontainers", "%run_container --rm --name endless toolbox sh -c 'echo begun; sleep 1000'")
    notebook.start()
    page = notebook.page
    expect(page.get_by_text("begun", exact=True)).to_be_visible()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel').then(() => {})")
    stopped = page.get_by_text("endless was stopped")
    expect(stopped).to_be_visible()
    assert "-fg" not in stopped.evaluate("e => e.className"), (
        "no colour of its own: it stands on the ground of an error"
    )
    assert page.get_by_text("Traceback").count() == 0
