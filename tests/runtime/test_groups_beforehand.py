"""What a container sees of its cgroups, whether its process waited in them or not; in the guest of tests/linux on cgroup v2."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from nbcontainers.events import Event, Output
from nbcontainers.oci.resources import Resources
from nbcontainers.oci.runtime import Mount
from nbcontainers.results import ContainerState
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime import processes
from nbcontainers.runtime.defaults import docker_spec
from nbcontainers.runtime.process import Runtime
from tests.waiting import until

BUSYBOX = "/bin/busybox"
_LIMIT = 32 << 20
_SCRIPT = """
grep -v name= /proc/self/cgroup | cut -d: -f3 | sort -u
for top in /sys/fs/cgroup /sys/fs/cgroup/memory; do
    [ -e $top/cgroup.procs ] || continue
    for number in $(cat $top/cgroup.procs); do [ "$number" = $$ ] && echo "process 1 is there"; done
    cat $top/memory.max $top/memory.limit_in_bytes 2>/dev/null
    ! mkdir $top/more 2>/dev/null || echo "one more group was made"
done
"""


@pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")
def test_a_container_sees_its_own_groups_whether_its_process_waited_in_them_or_not(tmp_path: Path) -> None:
    """They are the top of what it is shown, read-only, with itself in them, and hold it to its limits."""
    host = hosts.probe()
    if host.identity.userns or "memory" not in host.hierarchy.controllers:
        pytest.skip("needs root, and a cgroup controller for memory")
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "cat", "cut", "grep", "sort", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")

    def run(runtime: Runtime) -> str:
        name = runtime.new_id()
        folder = tmp_path / name
        folder.mkdir()
        spec = docker_spec(args=("sh", "-c", _SCRIPT), host=host, resources=Resources(memory=_LIMIT))
        state = ContainerState(
            id=name, name="box", image="", image_id="", command=(), status="created", created=time.time()
        )
        rootfs = (Mount(destination="/", type="bind", source=str(root), options=("rbind", "rw")),)
        said: list[Event] = []
        assert runtime.start(folder, spec, rootfs, state=state).attach(said.append) == 0
        return b"".join(event.data for event in said if isinstance(event, Output)).decode()

    def waits(runtime: Runtime) -> bool:
        shims = processes.children(runtime.zygote_pid() or 0)
        inits = [pid for shim in shims for pid in processes.children(shim)]
        return any(Path(f"/proc/{pid}/comm").read_text() == "nbc-init\n" for pid in inits)

    sockets = Path(f"/tmp/nbc-groups-{os.getpid()}")
    try:
        with Runtime(sockets, host) as runtime:
            alone = run(runtime)
            until(lambda: waits(runtime))
            assert run(runtime) == alone
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    assert alone.splitlines() == ["/", "process 1 is there", str(_LIMIT)]
