"""A JupyterLab on loopback with everything of its own, and how the browser is started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.machine import free_port
from tests.waiting import PATIENCE_S, until

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
# whether the kernel of the notebook in front is idle
KERNEL = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@dataclass
class Lab:
    """A running JupyterLab: its address, and the folder of its notebooks."""

    url: str
    folder: Path


@contextlib.contextmanager
def serve(home: Path) -> Iterator[Lab]:
    """A JupyterLab with settings, workspaces and a store of its own."""
    folder = home / "notebooks"
    folder.mkdir()
    port = free_port()
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    quiet = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        # What a kernel has to say after a second is dropped: on a busy machine that is all of it.
        "@jupyterlab/completer-extension:manager": {"providerTimeout": 60_000},
    }
    (settings / "default_setting_overrides.json").write_text(json.dumps(quiet))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "PYTEST"))
    }
    # JupyterLab reads extensions where they are installed, which may be another state of the code than the one that is tested.
    extensions = home / "share" / "labextensions"
    extensions.mkdir(parents=True)
    (extensions / "nbcontainers").symlink_to(ROOT / "nbcontainers" / "jupyter" / "labextension")
    environment |= {
        "JUPYTER_PATH": str(extensions.parent),
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
        # The server drops output beyond 1 MB a second, which tests that follow each other faster than people work can reach.
        "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=1e9",
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

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            with urllib.request.urlopen(f"{url}/api/status", timeout=PATIENCE_S):
                return True

        until(answers)
        yield Lab(url, folder)
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE_S)  # it asks its kernels to end
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


# From now on the page notes the largest message from the kernel, in characters, and when the last cell ended.
WATCH = """() => {
  window.seen = { largest: 0, kind: '', ended: 0 };
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  kernel.anyMessage.connect((_, { msg, direction }) => {
    if (direction !== 'recv') return;
    const size = JSON.stringify(msg).length;
    if (size > window.seen.largest) Object.assign(window.seen, { largest: size, kind: msg.header.msg_type });
    if (msg.content.execution_state === 'idle' && msg.parent_header?.msg_type === 'execute_request') window.seen.ended = performance.now();
  });
}"""
