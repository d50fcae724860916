"""How long a reader waits for a widget: from the end of its cell to the frame that shows it, in a real JupyterLab.

The samples are the page's own: the message that says that the cell has ended comes in, the frame with the widget is painted. A
widget that is painted before its cell ends counts as nothing waited for. The largest message of each is told below its table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.browser.lab import CHROMIUM, FLAGS, KERNEL, WATCH, Lab, serve

from .harness import OURS, Session, Table, Target, main
from .spawn import Unavailable

BEGIN = "from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n"
WIDGETS = {
    "layers": ("the layers of an image of 60 layers", "widgets.LayersWidget(samples.large_stack())"),
    "diff": ("a difference of 100,000 files", "widgets.DiffWidget(samples.large_diff())"),
}


def tables(session: Session) -> Iterator[Table]:
    """The layers of an image of 60 layers, and a difference of 100,000 files."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Unavailable("needs playwright") from None
    if not CHROMIUM:
        raise Unavailable("needs Chromium")
    lab = session.stack.enter_context(serve(session.folder))
    playwright = session.stack.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    session.stack.callback(browser.close)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{lab.url}/lab?reset")
    page.wait_for_function("() => window.jupyterapp?.restored")
    for name, (what, code) in WIDGETS.items():
        table = Table(title=f"first paint of {what}, after its cell has ended", targets=(Target(limit=300),))
        largest = 0
        for _ in range(session.rounds(full=7)):
            waited, size = sample(page, lab, name, BEGIN + code)
            table.rows.setdefault(OURS, []).append(waited / 1e3)
            largest = max(largest, size)
        table.notes.append(f"largest message: {largest:,} characters")
        yield table


def sample(page: Any, lab: Lab, name: str, code: str) -> tuple[float, int]:
    """Milliseconds from the cell's end to the painted widget, and the largest message in characters."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = f"paint-{time.monotonic_ns()}.ipynb"
    nbformat.write(made, lab.folder / path)
    opening = (
        "path => window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'}).then(() => {})"
    )
    page.evaluate(opening, path)
    page.wait_for_function(KERNEL)
    page.evaluate(WATCH)
    page.evaluate(
        "() => { performance.clearMeasures(); window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    )
    page.wait_for_function(f"() => window.seen.ended && performance.getEntriesByName('nbcontainers:{name}').length")
    ended, painted, largest = page.evaluate(
        f"() => {{ const one = performance.getEntriesByName('nbcontainers:{name}')[0];"
        " return [window.seen.ended, one.startTime + one.duration, window.seen.largest]; }"
    )
    page.evaluate(
        "() => { const one = window.jupyterapp.shell.currentWidget; return one.sessionContext.shutdown().then(() => one.dispose()); }"
    )
    return max(0.0, painted - ended), largest


if __name__ == "__main__":
    main("paint", tables)
