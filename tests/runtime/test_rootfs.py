"""What a container sees of files, and that nothing leads out of it."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import LaunchError
from nbcontainers.linux import syscalls
from nbcontainers.oci.runtime import Mount
from nbcontainers.runtime import rootfs
from nbcontainers.runtime.defaults import MASKED, READONLY
from tests import machine
from tests.waiting import until

from .conftest import Box


def table(box: Box, **words: object) -> dict[str, tuple[str, set[str]]]:
    """The mount table inside: (type, options) by mount point."""
    rows = [line.split() for line in box.shell("cat /proc/self/mounts", **words).splitlines()]
    return {row[1]: (row[2], set(row[3].split(","))) for row in rows}


def test_the_mounts_are_dockers(box: Box) -> None:
    """/proc, /dev, /sys, /dev/pts, /dev/shm and mqueue with Docker's options, and nothing of the host below them."""
    mounts = table(box)
    assert mounts["/"][0] == "overlay"
    guarded = {"nosuid", "nodev", "noexec"}
    assert mounts["/proc"][0] == "proc"
    assert mounts["/proc"][1] >= guarded | {"rw"}
    assert mounts["/dev"][0] == "tmpfs"
    assert mounts["/dev"][1] >= {"nosuid", "size=65536k", "mode=755"}
    assert mounts["/sys"][0] == "sysfs"
    assert mounts["/sys"][1] >= guarded | {"ro"}
    assert mounts["/dev/pts"][0] == "devpts"
    assert mounts["/dev/pts"][1] >= {"nosuid", "noexec", "ptmxmode=666"}
    assert mounts["/dev/shm"][1] >= guarded | {"size=65536k"}
    assert mounts["/dev/mqueue"][0] == "mqueue"
    for path in READONLY:
        if path in mounts:
            assert "ro" in mounts[path][1]
    host = Path("/proc/self/mounts").read_text()
    assert not [path for path in mounts if path.startswith("/mnt") and f" {path} " in host]


def test_the_host_sees_no_mount(box: Box) -> None:
    """The table of the host is the same while a container runs, and so is the container's own folder."""
    before = machine.mounts()
    running = box.start("sleep", "600")
    until(lambda: machine.mounts() <= before)
    assert set(os.listdir(running.folder)) >= {"upper", "work", "state.json", "log"}


def test_a_container_does_not_read_the_hosts_paths(box: Box) -> None:
    """The mount table inside names no folder of the store."""
    assert str(box.root) not in box.shell("cat /proc/self/mountinfo")


def test_devices_are_there_and_are_devices(box: Box) -> None:
    """null, zero, full, random, urandom, tty; ptmx, fd and the streams are links; nothing else."""
    names = set(box.shell("ls /dev").split())
    assert names == {
        *(name for name, _, _ in rootfs.DEVICES),
        *(name for _, name in rootfs.DEVICE_LINKS),
        "pts",
        "shm",
        "mqueue",
    }
    for name, major, minor in rootfs.DEVICES:
        assert box.shell(f"stat -c '%F %t %T' /dev/{name}") == f"character special file {major:x} {minor:x}\n"
    assert box.shell("head -c 4 /dev/zero | wc -c; echo x > /dev/null; echo y > /dev/stdout") == "4\ny\n"


def test_a_device_of_ones_own_cannot_be_opened(box: Box) -> None:
    """Root in a container may make a node for the host's memory or disk, but cannot open it; with a single id it is an empty file."""
    code, out, err = box.run("sh", "-c", "mknod /mem c 1 1 && head -c1 /mem")
    if box.host.has_single_id:
        assert (code, out, err) == (0, "", "")
        return
    assert code != 0
    assert "Operation not permitted" in err or "Permission denied" in err


def test_masked_paths_show_nothing(box: Box) -> None:
    """Files read as empty and folders are empty, and neither can be written."""
    script = "for p in {}; do [ -d $p ] && ls -A $p; [ -f $p -o -c $p ] && cat $p; done; true".format(" ".join(MASKED))
    assert box.shell(script) == ""
    assert "Read-only file system" in box.run("sh", "-c", "mkdir /sys/firmware/x")[2]


def test_each_mask_is_read_only(box: Box) -> None:
    """Files are hidden by one file and folders by one folder, and each of those mounts is read-only, not the first alone."""
    rows = [line.split() for line in box.shell("cat /proc/self/mountinfo").splitlines()]
    masks = [row for row in rows if row[4] in MASKED]
    assert len(masks) > 3
    assert all("ro" in row[5].split(",") for row in masks)
    if box.host.tier != "T3":  # there its /proc is the pod's, with the masks that this has
        assert len({row[2] for row in masks if row[row.index("-") + 1] == "tmpfs" and row[3] == "/"}) == 1


def test_kernel_parameters_cannot_be_written(box: Box) -> None:
    """/proc/sys and /proc/sysrq-trigger are read-only."""
    for path in ("/proc/sys/kernel/domainname", "/proc/sysrq-trigger"):
        code, _, err = box.run("sh", "-c", f"echo h > {path}")
        assert code != 0
        assert "Read-only file system" in err or not os.path.exists(path)


def test_the_masks_null_is_the_containers_own(box: Box) -> None:
    """A container that changes the mode of a masked file does not change the host's /dev/null, nor by its other devices theirs."""
    nodes = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]
    before = [os.stat(node).st_mode for node in nodes]
    try:
        box.run("sh", "-c", f"chmod 0600 /proc/keys /proc/timer_list {' '.join(nodes)}; chmod 0 /proc/self/fd/0")
        assert [os.stat(node).st_mode for node in nodes] == before
    finally:
        for node, mode in zip(nodes, before, strict=True) if os.geteuid() == 0 else ():
            os.chmod(node, stat.S_IMODE(mode))


def test_changes_go_to_the_upper_folder(box: Box) -> None:
    """What a container writes lies in its own folder, and its image stays as it is."""
    running = box.start("sh", "-c", "echo new > /made; rm /etc/group")
    assert running.wait() == 0
    assert (running.folder / "upper/made").read_text() == "new\n"
    assert (box.lower / "etc/group").exists()


def test_many_layers_fit(box: Box, tmp_path: Path) -> None:
    """A hundred layers with long names, colons and commas in them are one root; mount(2) alone fails at 34."""
    layers = []
    for number in range(100):
        layer = tmp_path / f"layer-{number:03d}-with:colon,comma and space"
        layer.mkdir()
        (layer / f"file{number}").touch()
        layers.append(layer)
    folder, rootfs_ = box.prepare()
    escaped = ":".join(str(layer).replace("\\", "\\\\").replace(":", "\\:") for layer in [*layers, box.lower])
    options = (f"lowerdir={escaped}", *rootfs_[0].options[1:])
    mounts = (Mount(destination="/", type="overlay", source="overlay", options=options),)
    spec = box.spec("sh", "-c", "ls / | grep -c file")
    running = box.runtime.start(folder, spec, mounts, state=box.state(folder, ("sh",)))
    box.started.append(running)
    events: list[object] = []
    assert running.attach(events.append) == 0
    assert "100" in repr(events)


def test_a_folder_can_be_the_root(box: Box) -> None:
    """Where no overlay can be, the root is a bind of a folder."""
    folder, _ = box.prepare()
    copy = folder / "copy"
    import shutil

    shutil.copytree(box.lower, copy, symlinks=True)
    mounts = (Mount(destination="/", type="none", source=str(copy), options=("rbind",)),)
    running = box.runtime.start(folder, box.spec("touch", "/here"), mounts, state=box.state(folder, ("touch",)))
    box.started.append(running)
    assert running.wait() == 0
    assert (copy / "here").exists()


def test_a_read_only_root_is_read_only(box: Box) -> None:
    """Only the root: /dev/shm and tmpfs mounts stay writable."""
    tmpfs = Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "size=1m"))
    code, out, err = box.run(
        "sh", "-c", "echo a > /tmp/a && echo b > /dev/shm/b && cat /tmp/a; touch /x", readonly_root=True, mounts=[tmpfs]
    )
    assert (code, out) == (1, "a\n")
    assert "Read-only file system" in err


class TestVolumes:
    """Folders and files of the host inside a container."""

    def test_a_folder_can_be_shared(self, box: Box, tmp_path: Path) -> None:
        """Both see what the other writes, and the place to mount it on is made."""
        (tmp_path / "in").write_text("from the host\n")
        volume = Mount(destination="/data/deep", type="bind", source=str(tmp_path), options=("rbind", "rw"))
        assert box.shell("cat /data/deep/in; echo back > /data/deep/out", mounts=[volume]) == "from the host\n"
        assert (tmp_path / "out").read_text() == "back\n"

    def test_a_folder_can_be_read_only(self, box: Box, tmp_path: Path) -> None:
        """``ro`` holds for it and for what is mounted below it."""
        volume = Mount(destination="/data", type="bind", source=str(tmp_path), options=("rbind", "ro"))
        code, _, err = box.run("touch", "/data/x", mounts=[volume])
        assert code == 1
        assert "Read-only file system" in err
        assert "ro" in table(box, mounts=[volume])["/data"][1]

    def test_a_file_can_be_shared(self, box: Box, tmp_path: Path) -> None:
        """A file is mounted on a file, which is made."""
        source = tmp_path / "hosts"
        source.write_text("here\n")
        volume = Mount(destination="/etc/hosts", type="bind", source=str(source), options=("bind",))
        assert box.shell("cat /etc/hosts", mounts=[volume]) == "here\n"

    def test_a_mount_takes_the_place_of_a_default(self, box: Box) -> None:
        """--tmpfs /dev/shm:size=1m is the only one there."""
        small = Mount(destination="/dev/shm", type="tmpfs", source="tmpfs", options=("size=1m",))
        assert table(box, mounts=[small])["/dev/shm"][1] >= {"size=1024k"}

    def test_a_slave_sees_what_the_host_mounts_later(self, box: Box, tmp_path: Path) -> None:
        """``rslave`` lets mounts in and none out; a source that is not shared is refused, for it would let none in."""
        volume = Mount(destination="/data", type="bind", source=str(tmp_path), options=("rbind", "rslave"))
        if not machine.IS_ADMIN:
            pytest.skip("needs root with CAP_SYS_ADMIN, who mounts on the host")
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs")
        try:
            syscalls.mount("", str(tmp_path), "", syscalls.MS_PRIVATE)
            with pytest.raises(LaunchError, match="not a shared mount"):
                box.start("true", mounts=[volume])
            syscalls.mount("", str(tmp_path), "", syscalls.MS_SHARED)
            (tmp_path / "later").mkdir()
            box.start(
                "sh",
                "-c",
                "until [ -e /data/later/x ]; do sleep 0.05; done; touch /data/seen; sleep 60",
                mounts=[volume],
            )
            syscalls.mount("tmpfs", str(tmp_path / "later"), "tmpfs")
            (tmp_path / "later/x").touch()
            until((tmp_path / "seen").exists)
        finally:
            syscalls.umount(str(tmp_path), syscalls.MNT_DETACH)

    @pytest.mark.parametrize("word", ["slave", "private"])
    def test_what_is_mounted_below_a_slave_lets_nothing_out(self, box: Box, tmp_path: Path, word: str) -> None:
        """Those below are slaves too, or private: the host sees nothing of what the container mounts there."""
        if not machine.IS_ADMIN:
            pytest.skip("needs root with CAP_SYS_ADMIN, who mounts on the host")
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs")
        try:
            syscalls.mount("", str(tmp_path), "", syscalls.MS_SHARED)
            (tmp_path / "below").mkdir()
            syscalls.mount("tmpfs", str(tmp_path / "below"), "tmpfs")
            volume = Mount(destination="/data", type="bind", source=str(tmp_path), options=("rbind", word))
            rows = box.shell("cat /proc/self/mountinfo", mounts=[volume]).splitlines()
            tags = {row.split()[4]: row.partition(" - ")[0].split()[6:] for row in rows}
            for point in ("/data", "/data/below"):
                assert [tag.partition(":")[0] for tag in tags[point]] == (["master"] if word == "slave" else [])
        finally:
            syscalls.umount(str(tmp_path), syscalls.MNT_DETACH)

    def test_a_folder_and_a_file_do_not_cover_each_other(self, box: Box, tmp_path: Path) -> None:
        """The error says so: the kernel's is "invalid argument"."""
        (tmp_path / "file").write_text("")
        for source, destination, what in ((tmp_path / "file", "/etc", "a file"), (tmp_path, "/etc/passwd", "a folder")):
            volume = Mount(destination=destination, type="bind", source=str(source), options=("bind",))
            with pytest.raises(LaunchError, match=f"mount {destination}: {what} can only be mounted on {what}"):
                box.start("true", mounts=[volume])


class TestLinksDoNotLeadOut:
    """Images and volumes whose links point where a careless engine would mount on the host (classes 3 and 4 of the policy)."""

    def test_a_volume_on_a_link_stays_inside(self, box: Box, tmp_path: Path) -> None:
        """A destination below links to / and .. lands inside the root."""
        layer, volume, outside = tmp_path / "layer", tmp_path / "volume", tmp_path / "outside"
        for folder in (layer, volume, outside):
            folder.mkdir()
        (volume / "mark").write_text("inside\n")
        (layer / "link").symlink_to(str(outside))
        (layer / "up").symlink_to("../../../../../../../.." + str(outside))
        for number, name in enumerate(("link", "up")):
            mount = Mount(destination=f"/{name}/sub", type="bind", source=str(volume), options=("rbind",))
            out = box.shell(f"cat /{name}/sub/mark; cat {outside}/sub/mark", mounts=[mount], lowers=[layer])
            assert out == "inside\ninside\n", number
        assert os.listdir(outside) == []

    def test_a_volume_on_a_dangling_link_makes_its_target_inside(self, box: Box, tmp_path: Path) -> None:
        """/var/run -> /run in an image without /run."""
        layer, volume = tmp_path / "layer", tmp_path / "volume"
        (layer / "var").mkdir(parents=True)
        volume.mkdir()
        (layer / "var/run").symlink_to("/run")
        (layer / "var/loop").symlink_to("loop")
        mount = Mount(destination="/var/run/app", type="bind", source=str(volume), options=("rbind",))
        assert "/run/app" in table(box, mounts=[mount], lowers=[layer])
        loop = Mount(destination="/var/loop/x", type="bind", source=str(volume), options=("rbind",))
        with pytest.raises(LaunchError, match="mount /var/loop/x"):
            box.start("true", mounts=[loop], lowers=[layer])

    def test_an_image_whose_dev_is_a_link(self, box: Box, tmp_path: Path) -> None:
        """Device nodes are made in the new file system, never through the link (CVE-2026-41579)."""
        layer, outside = tmp_path / "layer", tmp_path / "outside"
        layer.mkdir()
        outside.mkdir()
        (layer / "dev").symlink_to(str(outside))
        (layer / "outside").mkdir()
        assert box.shell("ls -l /dev/null | cut -c1", lowers=[layer]) == "c\n"
        assert os.listdir(outside) == []

    def test_an_image_whose_proc_is_a_link(self, box: Box, tmp_path: Path) -> None:
        """procfs is mounted where the link leads inside, and the masks lie on it."""
        layer = tmp_path / "layer"
        (layer / "elsewhere").mkdir(parents=True)
        (layer / "proc").symlink_to("/elsewhere")
        assert box.shell("cat /proc/timer_list; echo h > /proc/sysrq-trigger || echo ro", lowers=[layer]) == "ro\n"

    def test_a_volume_over_proc_is_refused(self, box: Box, tmp_path: Path) -> None:
        """Masks would land on the volume's files: /proc must be procfs (CVE-2025-52881)."""
        volume = Mount(destination="/proc", type="bind", source=str(tmp_path), options=("rbind",))
        with pytest.raises(LaunchError, match="proc"):
            box.start("true", mounts=[volume])

    def test_masked_paths_behind_links_hide_nothing_of_the_host(self, box: Box, tmp_path: Path) -> None:
        """A masked path that is a link inside a volume is resolved inside."""
        from dataclasses import replace

        (tmp_path / "link").symlink_to("/etc/passwd")
        volume = Mount(destination="/v", type="bind", source=str(tmp_path), options=("rbind",))
        spec = box.spec("cat", "/etc/passwd", mounts=[volume])
        code, out, _ = box.run("cat", spec=replace(spec, masked_paths=("/v/link",)))
        assert (code, out) == (0, "")
        assert Path("/etc/passwd").read_text() != ""

    def test_a_link_that_is_swapped_meanwhile_keeps_no_mask_off(self, box: Box, tmp_path: Path) -> None:
        """/proc leads through a volume in which another container swaps a link: the masks lie on procfs, or nothing starts."""
        layer, volume = tmp_path / "layer", tmp_path / "volume"
        (layer / "hidden").mkdir(parents=True)
        (layer / "vol").mkdir()
        (layer / "proc").symlink_to("/vol/x")
        (layer / "vol/x").symlink_to("/hidden")
        for name in ("sys", "bus", "fs", "irq"):
            (volume / "decoy" / name).mkdir(parents=True)
        (volume / "decoy/sysrq-trigger").touch()
        (volume / "x").symlink_to("/hidden")
        mount = Mount(destination="/vol", type="bind", source=str(volume), options=("rbind",))
        script = "grep -c ' /hidden/' /hidden/self/mountinfo"
        words: dict[str, Any] = {"mounts": [mount], "lowers": [layer]}
        masks = box.run("sh", "-c", script, **words)
        assert int(masks[1]) >= len(READONLY)
        swapper = subprocess.Popen([sys.executable, "-c", SWAP], cwd=volume, stdout=subprocess.PIPE)
        seen = []
        try:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            for _ in range(40):
                with contextlib.suppress(LaunchError):
                    seen.append(box.run("sh", "-c", script, **words))
        finally:
            swapper.kill()
            swapper.communicate()
        assert set(seen) == {masks}


SWAP = """
import os
os.symlink("/vol/decoy", "y")
print("swapping", flush=True)
while True:  # each name is at each instant one of the two links
    for target in ("/vol/decoy", "/hidden"):
        os.symlink(target, "new")
        os.rename("new", "x")
"""
