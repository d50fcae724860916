"""Which devices a container can open: by the v1 controller, or (in the guest of tests/linux) by a program on cgroup v2."""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.events import Event, Output
from nbcontainers.linux import capabilities
from nbcontainers.oci.resources import DeviceRule, Resources
from nbcontainers.oci.runtime import Device, Mount
from nbcontainers.results import ContainerState
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime.defaults import docker_spec
from nbcontainers.runtime.process import Runtime

BUSYBOX = "/bin/busybox"
_SCRIPT = """
for path in /dev/null /dev/kmsg /dev/given /image; do
    [ -c $path ] || continue
    (: <$path) 2>/dev/null && echo -n "$path r " ; (: >>$path) 2>/dev/null && echo -n "$path w "
done
mknod /made c 1 11 && echo made
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's containers can open what they make")
@pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")
def test_what_is_not_allowed_cannot_be_opened(tmp_path: Path) -> None:
    """A node that lies in the image, or that root makes inside, opens no device but Docker's and those that were given."""
    host = hosts.probe()
    if host.tier != "T0" or not host.guards_devices():
        pytest.skip(f"no device rules here: {host.notes()}")
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "mknod"):
        (root / "bin" / name).symlink_to("busybox")
    os.mknod(root / "image", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    own = Device(path="/dev/given", type="c", major=1, minor=11, mode=0o666)

    def run(name: str, *rules: DeviceRule) -> str:
        folder = tmp_path / name
        folder.mkdir()
        held = {*capabilities.DOCKER, "CAP_SYSLOG"}  # with which it is the rules alone that refuse
        wanted = Resources(devices=rules)
        spec = docker_spec(args=("sh", "-c", _SCRIPT), host=host, resources=wanted, capabilities=held)
        spec = replace(spec, devices=(own,) if rules else ())
        state = ContainerState(
            id=name, name=name, image="", image_id="", command=(), status="created", created=time.time()
        )
        rootfs = (Mount(destination="/", type="bind", source=str(root), options=("rbind", "rw")),)
        said: list[Event] = []
        with Runtime(Path(f"/tmp/nbc-rules-{os.getpid()}"), host) as runtime:
            running = runtime.start(folder, spec, rootfs, state=state)
            running.attach(said.append)
        (root / "made").unlink()
        return b"".join(event.data for event in said if isinstance(event, Output)).decode()

    try:
        assert run("plain") == "/dev/null r /dev/null w made\n"
        rule = DeviceRule(allow=True, type="c", major=1, minor=11, access="r")
        assert run("given", rule) == "/dev/null r /dev/null w /dev/given r /image r made\n"
        assert run("all", DeviceRule(allow=True)).startswith(
            "/dev/null r /dev/null w /dev/given r /dev/given w /image r"
        )
    finally:
        shutil.rmtree(f"/tmp/nbc-rules-{os.getpid()}", ignore_errors=True)
