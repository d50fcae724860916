"""The widgets in a real page: drawn, walked through with the keyboard, accessible, and calm about hostile names."""

from __future__ import annotations

import pytest

from tests.browser.lab import WATCH

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect


@pytest.mark.parametrize("name", ["layers", "diff"])
def test_a_stored_form_needs_no_widget(notebook, name):
    """Where a notebook has no widget, its HTML is there: in both themes, accessible, and without a script."""
    from nbcontainers.jupyter import forms
    from tests.jupyter import samples

    made = forms.layer_stack(samples.stack()) if name == "layers" else forms.image_diff(samples.diff())
    notebook.run(f"from IPython.display import HTML\nHTML({made!r})")
    notebook.page.wait_for_selector(".nbcf")
    notebook.look(f"form-{name}", ".nbcf")


IMAGE = {
    "Repository": "narrow/image-name",
    "Tag": "latest",
    "ID": "22add9c36c9b",
    "CreatedSince": "Less than a second ago",
    "Size": "74.1MB",
}


def test_a_stored_form_is_as_wide_as_a_widget_and_fits_a_narrow_page(notebook):
    """The same right edge; nothing of a list is cut off in half a window; the mark of a failed line stands beside its text."""
    from nbcontainers.cli import images
    from nbcontainers.jupyter import forms, html
    from tests.jupyter import test_forms

    made = (
        html.listing(images.COLUMNS, [IMAGE], label="Images", empty="none"),
        forms.build(test_forms.failed_build()),
    )
    notebook.run(
        *(f"from IPython.display import HTML\nHTML({form!r})" for form in made),
        "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\nwidgets.LayersWidget(samples.stack())",
    )
    page = notebook.page
    expect(page.locator(".nbc-layers")).to_be_visible()
    edges = "() => [...document.querySelectorAll('.nbcf, .nbc')].map((one) => Math.round(one.getBoundingClientRect().right))"
    assert len(set(page.evaluate(edges))) == 1
    lefts = """() => [...document.querySelector('.nbcf pre').childNodes].map((line) => {
        const range = document.createRange();
        range.selectNodeContents(line);
        return [line.nodeName, Math.round(range.getClientRects()[0].left), Math.round(line.getBoundingClientRect?.().left)];
    })"""
    lines = page.evaluate(lefts)
    assert len({left for _, left, _ in lines}) == 1, "marked or not, the text of the lines is aligned"
    assert all(left - edge >= 8 for name, left, edge in lines if name == "MARK")
    page.set_viewport_size({"width": 620, "height": 900})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.nbcf')].every((one) => one.clientWidth < 560 && one.scrollWidth <= one.clientWidth)"
    )
    notebook.look("form-narrow", ".nbcf")
    notebook.look("form-failed", ".jp-Cell:nth-child(2) .nbcf")


def test_what_a_layer_holds_is_not_cut_at_the_edge(notebook, show):
    """What is usual fits; what is more ends, where it is scrolled to its end, with room below it."""
    more = (
        "import dataclasses\nstack = samples.stack()\n"
        "first = dataclasses.replace(stack.layers[0], shared_with=tuple(map(str, range(20))))\n"
        "display(widgets.LayersWidget(stack), widgets.LayersWidget(dataclasses.replace(stack, layers=(first,))))"
    )
    show(more)
    usual, long = (notebook.page.locator(".details").nth(index) for index in range(2))
    assert usual.evaluate("e => e.scrollHeight <= e.clientHeight")
    assert long.evaluate("e => e.scrollHeight > e.clientHeight")
    notebook.shot("layers-long", ".nbc-layers >> nth=1")
    room = (
        "e => { e.scrollTop = e.scrollHeight; const last = e.querySelector('li:last-child').getBoundingClientRect();"
        " return e.getBoundingClientRect().bottom - last.bottom; }"
    )
    assert long.evaluate(room) >= 12


def test_layers_are_walked_with_the_keyboard(notebook, show):
    """Arrow keys choose a layer and show what it holds; the notebook's own shortcuts stay out of it."""
    show("widgets.LayersWidget(samples.stack())")
    page = notebook.page
    notebook.look("layers")
    layers = page.get_by_role("listbox", name="Layers")
    layers.focus()
    for key in ("End", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    expect(layers.get_by_role("option", selected=True)).to_contain_text("RUN python3")
    details = page.get_by_role("group", name="The chosen layer")
    expect(details).to_contain_text("211 added, 44 changed, 3 removed")
    expect(details).to_contain_text("typing.cpython-311.pyc")
    expect(details.get_by_role("button", name="Copy sha256:").first).to_be_visible()
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1, "no shortcut of the notebook ran"


def test_layers_are_chosen_with_the_mouse(notebook, show):
    """A click on a line, or on its part of the strip."""
    show("widgets.LayersWidget(samples.large_stack())")
    page = notebook.page
    page.get_by_role("option", name="Layer 3:").click()
    expect(page.get_by_role("group", name="The chosen layer")).to_contain_text("Layer 3 of 60")
    page.locator(".stratum").nth(40).click()
    expect(page.get_by_role("group", name="The chosen layer")).to_contain_text("Layer 41 of 60")
    notebook.look("layers-large")


def test_a_narrow_page_keeps_what_matters(notebook, show):
    """At the width of a telephone nothing overlaps and nothing is cut but text that says so."""
    show("widgets.LayersWidget(samples.stack())")
    notebook.page.set_viewport_size({"width": 520, "height": 900})
    notebook.look("layers-narrow")
    wide = notebook.page.evaluate(
        "() => { const e = document.querySelector('.nbc'); return [e.scrollWidth, e.clientWidth]; }"
    )
    assert wide[0] <= wide[1] + 1


def test_a_difference_is_opened_with_the_keyboard(notebook, show):
    """Right opens, left closes and goes up; folders come from the kernel when they are opened."""
    show("widgets.DiffWidget(samples.diff())")
    page = notebook.page
    notebook.look("diff")
    tree = page.get_by_role("tree")
    tree.focus()
    page.keyboard.press("Home")
    expect(page.get_by_role("treeitem", name="motd")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem", name="motd")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("motd")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("etc")


def test_a_difference_is_filtered(notebook, show):
    """By text and by kind; what is left adds up."""
    show("widgets.DiffWidget(samples.diff())")
    page = notebook.page
    page.get_by_role("searchbox").fill("requests")
    expect(page.get_by_role("status")).to_contain_text("12 files of 21")
    expect(page.get_by_role("treeitem", name="sessions.py")).to_be_visible()
    page.get_by_role("button", name="15 added").click()
    expect(page.get_by_role("status")).to_contain_text("No file matches.")
    page.get_by_role("searchbox").fill("")
    expect(page.get_by_role("treeitem", name="motd")).to_be_visible()
    expect(page.get_by_role("treeitem", name="logo.svg")).to_have_count(0)
    page.get_by_role("button", name="Sorted by name").click()
    expect(page.get_by_role("button", name="Sorted by size")).to_be_visible()


LARGE = "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n"


def test_a_hundred_thousand_files_are_painted_at_once(notebook):
    """What can be seen is drawn, nothing else; folders far down come by message, as they are opened; no message is large."""
    page = notebook.page
    notebook.open(
        LARGE + "widgets.DiffWidget(samples.large_diff())", LARGE + "widgets.LayersWidget(samples.large_stack())"
    )
    page.evaluate(WATCH)
    notebook.start()
    page.wait_for_selector(".nbc-layers")
    page.wait_for_selector(".nbc-diff")
    expect(page.get_by_text("100,000 files")).to_be_visible()
    took = page.evaluate(
        "() => Math.min(...performance.getEntriesByName('nbcontainers:diff').map((one) => one.duration))"
    )
    assert page.get_by_role("treeitem").count() < 100, "no more is drawn than can be seen"
    assert took < 20_000, "a bound for a busy machine; alone it takes some tens of milliseconds"
    page.get_by_role("treeitem", name="part-39").click()
    page.get_by_role("treeitem", name="section-24").click()
    expect(page.get_by_role("treeitem", name="file-").first).to_be_visible()
    expect(page.get_by_role("treeitem", name="section-24")).to_be_visible()
    page.get_by_role("searchbox").fill("file-00000")
    expect(page.get_by_role("status")).to_contain_text("10 files of 100,000")
    seen = page.evaluate("() => window.seen")
    assert 1000 < seen["largest"] < 1_000_000, seen
    page.get_by_role("searchbox").fill("")
    expect(page.get_by_role("treeitem", name="part-39")).to_be_visible()
    notebook.look("diff-large")


def test_a_busy_kernel_is_said_to_be(notebook):
    """A folder that the kernel has to give waits for the cell that runs, and the reader is told so."""
    notebook.open(
        "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\nwidgets.DiffWidget(samples.diff())",
        "import pathlib, time\nwhile not pathlib.Path('seen').exists(): time.sleep(0.05)",
    )
    notebook.start()
    page = notebook.page
    page.get_by_role("searchbox").fill("motd")
    expect(page.get_by_role("status")).to_contain_text("Waiting for the kernel")
    (notebook.lab.folder / "seen").touch()
    expect(page.get_by_role("status")).to_contain_text("1 file of 21")


@pytest.mark.parametrize("widget", ["LayersWidget(samples.hostile_stack())", "DiffWidget(samples.hostile_diff())"])
def test_hostile_names_are_text(notebook, show, widget):
    """No element comes of them, and no script runs."""
    show(f"widgets.{widget}")
    page = notebook.page
    expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
    assert page.locator(".nbc img").count() == 0
    notebook.look("hostile-" + widget.partition("Widget")[0].lower())


BUILD = """
from nbcontainers.jupyter.progress import Record
from nbcontainers.events import StepStarted, StepFinished, Output, Warned
from nbcontainers.errors import BuildError
record = Record("demo:latest", samples.DOCKERFILE)
view = widgets.BuildView(record)
def step(number, text, end=True, cached=False, reason=""):
    view.take(StepStarted(number=number, total=4, text=text, stage="", lines=(number, number)))
    if end: view.take(StepFinished(number=number, cached=cached, seconds=0.04, reason=reason))
step(1, "FROM toolbox", cached=True); step(2, "ENV LANG=C.UTF-8", cached=True); step(3, "COPY main.py .", reason="main.py changed")
step(4, "RUN python3 -m compileall . && false", end=False)
out = b"Listing '.'...\\nCompiling './main.py'...\\n\\x1b[32mok\\x1b[0m <b>not bold</b>\\n"
view.take(Output(data=out, step=4))
"""


def test_a_build_is_shown_as_it_runs(notebook, show):
    """Steps with their state, the output of the one that runs, and then the layers."""
    show(BUILD + "display(view)")
    page = notebook.page
    expect(page.get_by_text("building")).to_be_visible()
    expect(page.get_by_role("group", name="Output of the step").last).to_contain_text("ok <b>not bold</b>")
    expect(page.get_by_role("button", name="Step 1: FROM toolbox, cached")).to_be_visible()
    expect(page.get_by_text("rebuilt: main.py changed")).to_be_visible()
    notebook.look("build-running")


def test_a_finished_build_shows_the_layers_and_folds_its_steps(notebook, show):
    """They are one click away."""
    show(BUILD + "record.phase, record.seconds, record.stack = 'done', 2.31, samples.stack()\nview.finish()\nview")
    page = notebook.page
    expect(page.get_by_role("listbox", name="Layers")).to_be_visible()
    expect(page.get_by_role("list", name="Steps of the build")).to_be_hidden()
    page.get_by_role("button", name="Show the steps").click()
    expect(page.get_by_role("list", name="Steps of the build")).to_be_visible()
    notebook.look("build-done")


def test_a_failed_build_marks_the_lines(notebook, show):
    """The Dockerfile's lines, the end of the output, the hint."""
    show(
        BUILD + "record.fail(BuildError('step 4 of 4 failed with exit code 1', step='RUN', lines=(4, 5), exit_code=1, "
        "output=out, hint='the last lines above say why'))\nview.finish()\nview"
    )
    alert = notebook.page.get_by_role("alert")
    expect(alert).to_contain_text("failed with exit code 1")
    expect(alert.locator(".marked")).to_have_count(2)
    expect(alert).to_contain_text("not bold")
    notebook.look("build-failed")


def test_of_a_long_output_the_end_is_seen(notebook, show):
    """What a failed command said last is what went wrong."""
    show(
        BUILD + "record.fail(BuildError('it failed', step='RUN', lines=(4, 5), exit_code=1, "
        "output=b''.join(b'%d\\n' % n for n in range(60)) + b'what went wrong\\n'))\nview.finish()\nview"
    )
    said = notebook.page.get_by_role("group", name="End of the output")
    expect(said).to_contain_text("what went wrong")
    assert said.evaluate("e => e.scrollHeight > e.clientHeight + 100")
    said.page.wait_for_function(
        "e => e.scrollTop + e.clientHeight >= e.scrollHeight - 1", arg=said.element_handle(), timeout=20_000
    )


USAGE = """
import os, resource, threading, time
from nbcontainers.jupyter.watching import Watch
from nbcontainers.results import Usage
class This:
    "This kernel, as if it were a container: its own processor time and memory."
    id = samples.state().id
    state = samples.state(not_enforced=samples.UNKEPT)
    def meter(self): return self
    def close(self): pass
    def sample(self):
        own = resource.getrusage(resource.RUSAGE_SELF)
        pages = int(open("/proc/self/statm").read().split()[1])
        return Usage(time=time.time(), cpu_seconds=own.ru_utime + own.ru_stime, memory=pages * 4096, processes=threading.active_count(),
                     source=SOURCE, cpu_limit=0.5, memory_limit=512 << 20, processes_limit=64, memory_peak=own.ru_maxrss * 1024)
SOURCE = "process tree"
this = This()
watch = Watch(lambda: [this], lambda watch, samples: view.take(samples), rate=4)
watch.glance()
view = widgets.UsageWidget(watch)
watch.start()
view
"""


def test_usage_goes_on_while_another_cell_runs(notebook):
    """The lines grow, and the figures change, while the kernel is busy; it ends when the container does.

    A limit that nothing holds is said to be that, and has no line.
    """
    end = (
        "This.state = dataclasses.replace(This.state, status='exited', exit_code=0, finished=This.state.started + 4.2)"
    )
    notebook.open(
        "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n" + USAGE,
        "end = time.time() + 4\nwhile time.time() < end: sum(range(10000))",
        "import dataclasses\n" + end,
    )
    notebook.start()
    page = notebook.page
    expect(page.get_by_text("watched, process tree")).to_be_visible()
    cpu = page.get_by_role("img", name="Processor over the last minute")
    page.wait_for_function(
        "() => (document.querySelector('.nbc-usage .line')?.getAttribute('d') || '').split('L').length >= 8",
    )
    expect(cpu).to_be_visible()
    processor, memory = (page.locator(".gauge", has_text=name) for name in ("Processor", "Memory"))
    expect(processor).to_contain_text("of 50 %, not held")
    expect(processor.locator(".limit")).to_have_css("display", "none")
    expect(memory.locator(".limit")).not_to_have_css("display", "none")
    notebook.look("usage")
    page.get_by_text("Not enforced here: 3").click()
    expect(page.locator(".unkept li")).to_have_text(["cpu is not limited", "memory is watched"])
    expect(page.locator(".unkept p")).to_have_text(["no group can be made here, so", "<img src=x onerror=alert(1)>"])
    notebook.look("usage-not-enforced")
    notebook.done(3)
    expect(page.get_by_text("ended", exact=True)).to_be_visible()
    expect(page.get_by_text("exit code 0")).to_be_visible()
    notebook.look("usage-ended")


def test_usage_survives_a_reload_of_the_page(notebook):
    """A page that is loaded anew shows the samples so far."""
    notebook.run("from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n" + USAGE)
    page = notebook.page
    page.wait_for_function(
        "() => (document.querySelector('.nbc-usage .line')?.getAttribute('d') || '').split('L').length >= 8",
    )
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    notebook.reload()
    page.wait_for_function(
        "() => (document.querySelector('.nbc-usage .line')?.getAttribute('d') || '').split('L').length >= 8",
    )


def test_watching_stops_when_the_button_is_pressed(notebook):
    """The thread in the kernel ends."""
    notebook.run("from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n" + USAGE)
    page = notebook.page
    page.get_by_role("button", name="Stop watching").click()
    expect(page.get_by_text("ended", exact=True)).to_be_visible()


def test_after_a_restart_of_the_kernel_nothing_claims_to_go_on(notebook):
    """What was built is stopped and its clock stands, watching has ended, and who asks of a difference is told."""
    head = "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n"
    notebook.run(head + BUILD + "display(view)", head + USAGE, head + "widgets.DiffWidget(samples.diff())")
    page = notebook.page
    build, usage, diff = (page.locator(f".nbc-{name}") for name in ("build", "usage", "diff"))
    expect(build.get_by_text("building")).to_be_visible()
    expect(usage.get_by_text("live", exact=True)).to_be_visible()
    expect(diff).to_be_attached()
    notebook.restart()
    expect(build.get_by_text("stopped").first).to_be_visible()
    expect(build.get_by_text("The kernel is gone, and its build with it.")).to_be_visible()
    expect(build.get_by_role("button", name="Step 4: RUN")).to_have_accessible_name(
        "Step 4: RUN python3 -m compileall . && false, stopped, with output"
    )
    assert build.locator(".spinner").count() == 0
    expect(usage.get_by_text("ended", exact=True)).to_be_visible()
    expect(usage.get_by_text("was running")).to_be_visible()
    expect(usage.get_by_role("button", name="Stop watching")).to_be_hidden()
    diff.get_by_role("searchbox").fill("motd")
    expect(diff.get_by_role("status")).to_contain_text("The kernel is gone")
    notebook.look("gone-build", ".nbc-build")
    notebook.look("gone-usage", ".nbc-usage")


def test_a_button_whose_kernel_was_shut_down_does_what_it_says(notebook):
    """The page is not told that its widgets are over; it learns it when it has something to say, and throws nothing."""
    notebook.run("from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n" + USAGE)
    page = notebook.page
    stop = page.get_by_role("button", name="Stop watching")
    expect(stop).to_be_visible()
    notebook.kernel.clear()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    stop.click()
    expect(page.get_by_text("ended", exact=True)).to_be_visible()


def test_a_view_stays_when_only_what_the_notebook_keeps_is_replaced(notebook):
    """The HTML is brought up to date below it: nothing is drawn a second time, and no view goes on unseen."""
    head = "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n"
    end = "until(lambda: (here / 'marked').exists())\nrecord.phase = 'done'\nview.finish()\nplace.update(view)"
    notebook.open(
        head + BUILD + "place = display(view, display_id=True)",
        "import pathlib\nfrom tests.waiting import until\nhere = pathlib.Path()\n" + end,
    )
    notebook.start()
    page = notebook.page
    page.locator(".nbc-build").evaluate("e => { e.dataset.marked = 'yes'; }")
    (notebook.lab.folder / "marked").touch()
    expect(page.locator(".nbc-build").get_by_role("status").first).to_have_text("built")
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.content.widgets[0].model.outputs.toJSON()"
        ".some((one) => String([one.data?.['text/html']].flat().join('')).includes('>built<'))"
    )
    notebook.done(2)
    expect(page.locator(".nbc-build")).to_have_attribute("data-marked", "yes")
