"""A real JupyterLab on loopback, driven by Debian's Chromium; a page that leaves the site, throws or is not accessible fails."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import CHROMIUM, FLAGS, KERNEL, ROOT, Lab, serve

PATIENCE = 120_000  # milliseconds: a page on a machine that does other things as well may take its time; one that is done does not wait
# the notebook has the whole width of the window
WIDE = "() => window.jupyterapp.restored.then(() => window.jupyterapp.shell.collapseLeft())"
NEEDED = {
    "playwright": "playwright",
    "pytest_playwright": "pytest-playwright",
    "axe_playwright_python": "axe-playwright-python",
}


def missing() -> str:
    """What these tests need and this machine lacks; empty if nothing."""
    for module, name in {**NEEDED, "jupyterlab": "jupyterlab", "anywidget": "anywidget"}.items():
        if importlib.util.find_spec(module) is None:
            return f"needs {name}: pip install -e '.[test]'"
    if not CHROMIUM:
        return "needs Chromium: apt-get install chromium fonts-dejavu-core, or name it in $CHROMIUM"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here drives a browser."""
    reason = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium, as it is."""
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """A laptop's window."""
    return {**browser_context_args, "viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="session")
def base_url() -> str:
    """Each notebook has its whole address. (The plugin's own fixture is written in a way that pytest warns of.)"""
    return ""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab with settings, workspaces and a store of its own."""
    with serve(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def tab(browser: Any, browser_context_args: dict[str, Any], lab: Lab) -> Iterator[Any]:
    """One page with JupyterLab in it: loading it takes longer than most tests."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(**browser_context_args)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{lab.url}/lab?reset")
    page.wait_for_function("() => window.jupyterapp?.restored")
    page.evaluate(WIDE)
    yield page
    context.close()


@dataclass
class Notebook:
    """A notebook in the browser, with what a page must not do."""

    page: Any
    lab: Lab
    shots: Path
    kernel: dict[str, str]
    path: str = ""
    elsewhere: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, *cells: str) -> None:
        """Write a notebook of these code cells, open it, and wait for its kernel."""
        import nbformat

        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        name = f"test-{time.monotonic_ns()}.ipynb"
        nbformat.write(made, self.lab.folder / name)
        self.open_file(name)

    def open_file(self, name: str, *, kernel: bool = True) -> None:
        """Open a notebook of the folder, with the kernel that all share, or without one."""
        self.path = name
        wanted = (self.kernel or {"name": "python3"}) if kernel else {"shouldStart": False, "shutdownOnDispose": False}
        self.page.evaluate(
            "([path, kernel, shared]) => window.jupyterapp.commands.execute('docmanager:open',"
            " {path, factory: 'Notebook', kernel, kernelPreference: shared ? undefined : kernel}).then(() => {})",
            [name, wanted if kernel else None, kernel],
        )
        if not kernel:
            return
        self.page.wait_for_function(KERNEL)
        self.kernel["id"] = self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
        )

    def finished(self) -> None:
        """Wait until every code cell has run."""
        self.page.wait_for_function(
            "() => { const all = window.jupyterapp.shell.currentWidget.content.model.cells;"
            " return [...Array(all.length).keys()].map((n) => all.get(n)).filter((c) => c.type === 'code')"
            ".every((c) => c.executionCount !== null && c.executionState !== 'running'); }",
            timeout=3 * PATIENCE,
        )
        self.page.wait_for_function(KERNEL)

    def reveal(self, selector: str) -> None:
        """Scroll until the element is there: a cell that is far away is not in the page at all."""
        for _ in range(200):
            if self.page.locator(selector).count():
                self.page.locator(selector).first.scroll_into_view_if_needed()
                return
            self.page.evaluate("() => { document.querySelector('.jp-WindowedPanel-outer').scrollBy(0, 400); }")
            self.page.wait_for_timeout(50)
        raise AssertionError(f"no {selector}")

    def shot(self, name: str, selector: str) -> None:
        """Keep a picture."""
        self.shots.mkdir(parents=True, exist_ok=True)
        self.page.locator(selector).first.screenshot(path=self.shots / f"{name}.png", animations="disabled")

    def reload(self) -> None:
        """Load the page anew, with the notebook that is open and no other.

        Left to itself JupyterLab restores what it noted last, some time before: on a busy machine a notebook of an earlier test,
        which then comes to the front when the test is well on its way.
        """
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path}?reset")
        self.page.wait_for_function("() => window.jupyterapp?.restored")
        self.page.evaluate(WIDE)
        self.page.wait_for_function(KERNEL)

    def restart(self) -> None:
        """Restart the kernel, as the menu does when it has been asked whether that is meant."""
        self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => {})"
        )
        self.page.wait_for_function(KERNEL)

    def close(self) -> None:
        """Close the notebooks, saved or not, and the widgets in the kernel, which stays for the next test.

        A page that opens a notebook asks its kernel for the state of every widget that is alive there. Those of all tests together
        are megabytes, and a server that is sent so much at once drops what comes next, outputs too (``iopub_data_rate_limit``).
        """
        self.page.evaluate(
            """code => {
                const kernel = window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;
                if (!kernel) return null;
                const closed = kernel.requestExecute({ code, silent: true, store_history: false }).done.then(() => null);
                return Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 20_000))]);
            }""",
            "import sys\nif 'ipywidgets' in sys.modules: sys.modules['ipywidgets'].Widget.close_all()",
        )
        self.page.evaluate(
            "() => { for (const widget of [...window.jupyterapp.shell.widgets('main')]) widget.dispose(); }"
        )

    def start(self) -> None:
        """Run all cells, and do not wait."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def run(self, *cells: str) -> None:
        """Open a notebook of these cells, run them, and wait for their end."""
        self.open(*cells)
        self.start()
        self.done(len(cells))

    def done(self, count: int) -> None:
        """Wait until so many cells have ended."""
        self.page.wait_for_function(
            "n => [...document.querySelectorAll('.jp-InputPrompt')].filter(e => /\\[\\d+\\]/.test(e.textContent)).length >= n",
            arg=count,
        )

    def theme(self, name: str) -> None:
        """Switch to the theme ``Light`` or ``Dark``."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`})", name
        )
        light = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def settle(self) -> None:
        """Wait until nothing is on its way from one look to another: colours fade from theme to theme."""
        self.page.wait_for_function(
            # Chromium goes on listing some that have come to their end, until something else is drawn there.
            "() => !document.getAnimations().some(one => one instanceof CSSTransition && one.playState !== 'finished')"
        )

    def look(self, name: str, selector: str = ".nbc") -> None:
        """Keep a picture of the element in both themes, and fail if it is not accessible in one of them."""
        from axe_playwright_python.sync_playwright import Axe

        for theme in ("Light", "Dark"):
            self.theme(theme)
            self.settle()
            self.shot(f"{name}-{theme.lower()}", selector)
            found = (
                Axe().run(self.page, context=selector, options={"resultTypes": ["violations"]}).response["violations"]
            )
            told = [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
            assert not told, f"{name} in the {theme} theme: {told}"


@pytest.fixture(scope="session")
def kernel() -> dict[str, str]:
    """The kernel that the notebooks share: starting one takes longer than most tests."""
    return {}


def is_of_lab(error: Any) -> bool:
    """Whether an error of the page is one of the two that JupyterLab throws by itself at times: its stack has none of our scripts.

    It had asked something of a kernel whose notebook was closed meanwhile; or React takes away what Lumino has moved.
    """
    known = ("Canceled future for create_subshell_request", "Failed to execute 'removeChild' on 'Node'")
    ours = ("blob:", "data:", "nbcontainers", "anywidget")
    return any(word in str(error) for word in known) and not any(word in (error.stack or "") for word in ours)


@pytest.fixture
def notebook(tab: Any, lab: Lab, kernel: dict[str, str], browser_context_args: dict[str, Any]) -> Iterator[Notebook]:
    """A notebook to open; at the end no request has left the site and no script of the page has thrown."""
    made = Notebook(tab, lab, Path(os.environ.get("NBCONTAINERS_SHOTS") or ROOT / "test-results"), kernel)
    ours = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")

    def asked(request: Any) -> None:
        if not request.url.startswith(ours):
            made.elsewhere.append(request.url)

    def threw(error: Any) -> None:
        if not is_of_lab(error):
            made.errors.append(f"{error}\n{error.stack}")

    tab.on("request", asked)
    tab.on("pageerror", threw)
    tab.set_viewport_size(browser_context_args["viewport"])
    yield made
    made.close()
    tab.remove_listener("request", asked)
    tab.remove_listener("pageerror", threw)
    assert not made.elsewhere, made.elsewhere
    assert not made.errors, made.errors


Show = Callable[[str], None]


@pytest.fixture
def show(notebook: Notebook) -> Show:
    """Run one cell that ends with a widget of ``tests.jupyter.samples``, and wait until it is there."""

    def shown(code: str) -> None:
        notebook.run("from tests.jupyter import samples\nfrom nbcontainers.jupyter import widgets\n" + code)
        notebook.page.wait_for_selector(".nbc")

    return shown
