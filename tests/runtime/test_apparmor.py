"""AppArmor: a container's commands run under the profile that was named. (In the guest of tests/linux; most hosts have none.)"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nbcontainers.errors import LaunchError, NBContainersError
from nbcontainers.events import Event, Output
from nbcontainers.linux import apparmor
from nbcontainers.oci.runtime import Mount
from nbcontainers.results import ContainerState
from nbcontainers.runtime import host as hosts
from nbcontainers.runtime.defaults import docker_spec
from nbcontainers.runtime.process import Runtime

BUSYBOX = "/bin/busybox"
POLICY = Path(__file__).parents[2] / "policy"  # compiled by the one who made the guest
LOAD = Path("/sys/kernel/security/apparmor/.load")
PROFILE = "nbcontainers-test"
TEXT = f"""profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  signal,
  deny /forbidden w,
}}
"""


@pytest.mark.skipif(apparmor.is_active(), reason="AppArmor is active here")
def test_without_apparmor_a_profile_is_refused() -> None:
    """With the reason; unconfined is what is so."""
    from nbcontainers.engine import security

    with pytest.raises(NBContainersError, match="AppArmor is not active on this host"):
        security.read(["apparmor=docker-default"])
    assert security.read(["apparmor=unconfined"]).apparmor == ""


@pytest.mark.skipif(
    not apparmor.is_active() or not POLICY.exists(), reason="needs AppArmor and a compiled policy: the guest has them"
)
def test_a_profile_confines_a_container(tmp_path: Path) -> None:
    """Its first command and those that it starts, as root and as another user; a name that is none is refused."""
    LOAD.write_bytes(POLICY.read_bytes())
    assert apparmor.loaded(PROFILE) == PROFILE
    with pytest.raises(NBContainersError, match="no such profile is loaded") as caught:
        apparmor.loaded("nbcontainers-tset")
    assert PROFILE in caught.value.hint
    host = hosts.probe()
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    root.chmod(0o777)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    sockets = Path(f"/tmp/nbc-aa-{os.getpid()}")

    def run(name: str, profile: str, user: str = "") -> str:
        folder = tmp_path / name
        folder.mkdir()
        script = "cat /proc/self/attr/current; (echo x >/allowed) && echo wrote; (echo x >/forbidden) 2>/dev/null || echo refused"
        spec = docker_spec(args=("sh", "-c", script), host=host)
        spec = replace(spec, process=replace(spec.process, apparmor_profile=profile))
        state = ContainerState(
            id=name, name=name, image="", image_id="", command=(), status="created", created=time.time()
        )
        rootfs = (Mount(destination="/", type="bind", source=str(root), options=("rbind", "rw")),)
        said: list[Event] = []
        with Runtime(sockets, host) as runtime:
            runtime.start(folder, spec, rootfs, state=state, user=user).attach(said.append)
        for made in ("allowed", "forbidden"):
            (root / made).unlink(missing_ok=True)
        return b"".join(event.data for event in said if isinstance(event, Output)).decode().replace("\0", "")

    try:
        assert run("free", "") == "unconfined\nwrote\n"
        for name, user in (("first", ""), ("other", "1000:1000")):
            assert run(name, PROFILE, user) == f"{PROFILE} (enforce)\nwrote\nrefused\n"
        with pytest.raises(LaunchError, match="AppArmor profile 'none-such'"):
            run("none", "none-such")
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
