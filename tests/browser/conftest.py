"""A real JupyterLab on loopback, driven by Debian's Chromium; a page that leaves the site, throws or is not accessible fails."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = [
    "--no-sandbox",  # the tests run as root, where Chromium's own sandbox refuses to
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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


@dataclass
class Lab:
    """A running JupyterLab: its address, and the folder of its notebooks."""

    url: str
    folder: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab with settings, workspaces and a store of its own."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "default_setting_overrides.json").write_text(json.dumps(quiet))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "PYTEST"))
    }
    environment |= {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "run"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "NBCONTAINERS_ROOT": str(home / "store"),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
    }
    log = home / "lab.log"
    words = [
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            stdout=written,
            stderr=written,
            env=environment,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/status", timeout=2):
                break
            time.sleep(0.1)
        yield Lab(url, folder)
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="session")
def tab(browser: Any, browser_context_args: dict[str, Any], lab: Lab) -> Iterator[Any]:
    """One page with JupyterLab in it: loading it takes longer than most tests."""
    context = browser.new_context(**browser_context_args)
    page = context.new_page()
    page.goto(f"{lab.url}/lab?reset")
    page.wait_for_function("() => window.jupyterapp?.restored")
    page.evaluate("() => window.jupyterapp.restored.then(() => window.jupyterapp.shell.collapseLeft())")
    yield page
    context.close()


KERNEL = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@dataclass
class Notebook:
    """A notebook in the browser, with what a page must not do."""

    page: Any
    lab: Lab
    shots: Path
    kernel: dict[str, str]
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
        wanted = (self.kernel or {"name": "python3"}) if kernel else {"shouldStart": False, "shutdownOnDispose": False}
        self.page.evaluate(
            "([path, kernel, shared]) => window.jupyterapp.commands.execute('docmanager:open',"
            " {path, factory: 'Notebook', kernel, kernelPreference: shared ? undefined : kernel}).then(() => {})",
            [name, wanted if kernel else None, kernel],
        )
        if not kernel:
            return
        self.page.wait_for_function(KERNEL, timeout=60_000)
        self.kernel["id"] = self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
        )

    def finished(self, timeout: float) -> None:
        """Wait until every code cell has run."""
        self.page.wait_for_function(
            "() => { const all = window.jupyterapp.shell.currentWidget.content.model.cells;"
            " return [...Array(all.length).keys()].map((n) => all.get(n)).filter((c) => c.type === 'code')"
            ".every((c) => c.executionCount !== null && c.executionState !== 'running'); }",
            timeout=timeout,
        )
        self.page.wait_for_function(KERNEL, timeout=timeout)

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
        """Load the page anew, with the notebook that is open."""
        self.page.reload()
        self.page.wait_for_function(KERNEL, timeout=60_000)

    def close(self) -> None:
        """Close the notebooks, saved or not; the kernel stays for the next test."""
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

    def done(self, count: int, timeout: float = 60_000) -> None:
        """Wait until so many cells have ended."""
        self.page.wait_for_function(
            "n => [...document.querySelectorAll('.jp-InputPrompt')].filter(e => /\\[\\d+\\]/.test(e.textContent)).length >= n",
            arg=count,
            timeout=timeout,
        )

    def theme(self, name: str) -> None:
        """Switch to the theme ``Light`` or ``Dark``."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`})", name
        )
        light = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def look(self, name: str, selector: str = ".nbc") -> None:
        """Keep a picture of the element in both themes, and fail if it is not accessible in one of them."""
        from axe_playwright_python.sync_playwright import Axe

        for theme in ("Light", "Dark"):
            self.theme(theme)
            self.page.wait_for_timeout(200)  # colours fade from one theme to the other
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


@pytest.fixture
def notebook(tab: Any, lab: Lab, kernel: dict[str, str], browser_context_args: dict[str, Any]) -> Iterator[Notebook]:
    """A notebook to open; at the end no request has left the site and no script of the page has thrown."""
    made = Notebook(tab, lab, Path(os.environ.get("NBCONTAINERS_SHOTS") or ROOT / "test-results"), kernel)
    ours = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")

    def asked(request: Any) -> None:
        if not request.url.startswith(ours):
            made.elsewhere.append(request.url)

    def threw(error: Any) -> None:
        made.errors.append(str(error))

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
        notebook.page.wait_for_selector(".nbc", timeout=20_000)

    return shown
