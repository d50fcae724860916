"""Tier T3, on such a host: an ordinary user without a capability, who sees /proc and /sys masked, as in a pod."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MASKED = 'mount -t tmpfs -o ro none /proc/acpi && mount -t tmpfs -o ro none /sys/firmware && exec "$@"'
_NOBODY = "--ambient-caps=-all --inh-caps=-all --bounding-set=-all --no-new-privs".split()
_ROOT = Path(__file__).parents[2]


def in_a_pod(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a pod would: its mounts are locked, so no proc file system that shows more can be mounted."""
    if os.geteuid() == 0:
        pytest.skip("an ordinary user's tier: root has a better one")
    made = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", _MASKED, "--"]
    return finished(*made, "setpriv", *_NOBODY, *words)


def finished(*words: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended; the tier is its to find."""
    found = {name: value for name, value in os.environ.items() if name != "NBCONTAINERS_TIER"}
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=_ROOT, env=found)


def test_a_pod_is_told_apart() -> None:
    """The tier is found by trying, and doctor says what containers see there."""
    done = in_a_pod(sys.executable, "-m", "nbcontainers", "doctor")
    assert done.stdout.startswith("tier T3: no privilege"), done.stdout + done.stderr
    assert done.stderr == ""
    assert "containers see the host's /proc, read-only" in done.stdout


def test_containers_run_in_a_pod(tmp_path: Path) -> None:
    """The tests of identities, and of what is masked and cannot be written, hold in a pod too."""
    wanted = "chown or becomes or devices or masked or kernel_parameters or pid_1 or home or exit"
    files = ["tests/runtime/identity/test_supervisor.py", "tests/runtime/test_rootfs.py", "tests/runtime/test_init.py"]
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "in"), "-k", wanted]
    done = in_a_pod(sys.executable, "-m", "pytest", *options, *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert " passed" in done.stdout


def test_nothing_of_the_host_can_be_set_through_proc() -> None:
    """The host's /proc is read-only in it, for other processes' values and its own."""
    script = (
        "import sys; from pathlib import Path; from tests.runtime import conftest\n"
        "from nbcontainers.runtime import defaults, host\n"
        "found = host.probe(); spec = defaults.docker_spec(args=['true'], host=found)\n"
        "print(found.tier, *[m.options for m in spec.mounts if m.destination == '/proc'], dict(spec.sysctl))"
    )
    done = in_a_pod(sys.executable, "-c", script)
    assert done.stdout == "T3 ('rbind', 'rnosuid', 'rnoexec', 'rnodev', 'rro') {}\n", done.stdout + done.stderr


def test_without_user_namespaces_images_can_be_looked_at(tmp_path: Path) -> None:
    """Tier T4, no PRoot: an image is loaded, its layers are unpacked and compared; a container is refused, and the reason is said."""
    if os.geteuid() == 0:
        pytest.skip("an ordinary user's tier: root has a better one")
    script = (
        "import sys; from nbcontainers.engine import Engine; from nbcontainers.errors import HostError\n"
        "engine = Engine(sys.argv[1]); print(engine.host().tier)\n"
        "engine.build('FROM scratch\\nCOPY --chown=5:6 a /a\\n', context=sys.argv[2], tag='t')\n"
        "print(engine.layers('t').layers[-1].added, len(engine.image_diff('t', 't').files))\n"
        "try: engine.run('t', '/a')\n"
        "except HostError as error: print(error.message)\n"
    )
    (tmp_path / "context").mkdir()
    (tmp_path / "context/a").write_text("a\n")
    none = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    made = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", none, "--", "setpriv", *_NOBODY]
    words = ["env", "PATH=/nowhere", sys.executable, "-c", script, str(tmp_path / "store"), str(tmp_path / "context")]
    done = finished(*made, *words)
    assert done.stdout.startswith("T4\n"), done.stdout + done.stderr
    assert "containers cannot run on this host, tier T4" in done.stdout, done.stdout + done.stderr
