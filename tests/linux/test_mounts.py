from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbcontainers.linux import mounts

ROOT = Path(__file__).parents[2]

# In a process of its own: it makes mounts, and a user namespace where it is not root's.
TRY = """
import os, sys
from nbcontainers.linux import mounts, syscalls
uid, gid, base, number, old = os.geteuid(), os.getegid(), sys.argv[1], int(sys.argv[2]), sys.argv[3] == "old"
syscalls.unshare(syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWUSER if uid else 0))
if uid:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
lower = []
for layer in range(number):
    lower.append(os.path.join(base, f"lower:{layer},with\\\\signs" + "x" * 180))
    os.makedirs(lower[-1])
    open(os.path.join(lower[-1], f"f{layer}"), "w").close()
for name in ("upper", "work", "scratch", "target"):
    os.mkdir(os.path.join(base, name))
mount = mounts.overlay(lower, os.path.join(base, "upper"), os.path.join(base, "work"))
if old:
    def refuse(*words): raise OSError(22, "Invalid argument")
    syscalls.fsmount = refuse
try:
    made = mounts.detached(mounts.parse(mount), os.path.join(base, "scratch"))
except OSError as error:
    print("refused", error.errno)
    sys.exit()
root = os.open(".", os.O_RDONLY, dir_fd=made)
assert len(os.listdir(root)) == number and not os.listdir(os.path.join(base, "scratch"))
os.unlink("f0", dir_fd=root)
assert os.listdir(os.path.join(base, "upper")) == ["f0"]
os.close(root)
os.close(made)
mounts.attach(mount, os.path.join(base, "target"))
assert len(os.listdir(os.path.join(base, "target"))) == number - 1
mounts.attach(mounts.bind(os.path.join(base, "upper")), os.path.join(base, "scratch"))
assert os.listdir(os.path.join(base, "scratch")) == ["f0"]
print("made")
"""


def attempt(base: Path, number: int, kernel: str) -> str:
    words = [sys.executable, "-c", TRY, str(base), str(number), kernel]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("number", "kernel"), [(1, "new"), (120, "new"), (120, "old")])
def test_an_overlay_has_as_many_layers_as_it_needs(tmp_path: Path, number: int, kernel: str) -> None:
    """With fsconfig's lowerdir+ and, where the kernel lacks that, with mount(2); whatever signs and length the paths have."""
    answer = attempt(tmp_path, number, kernel)
    if answer.startswith("refused 1"):
        pytest.skip("this host allows no overlay")
    assert answer == "made"


def test_more_layers_than_a_page_can_name_are_refused_in_words(tmp_path: Path) -> None:
    """mount(2) would cut the options off and mount something else."""
    tree = mounts.Overlay(tuple(["/"] * 300))
    with pytest.raises(OSError, match="300 layers are more"):
        mounts._mount([f"/proc/self/fd/{number}" for number in range(300)], [("userxattr", "")], str(tmp_path), 0)
    assert tree.readable() == tree


@pytest.mark.parametrize("folder", ["/plain", "/co:lon", "/back\\slash", "/com,ma", "/both\\:", "/sp ace"])
def test_an_overlay_is_read_as_it_was_written(folder: str) -> None:
    """Any path may be a layer's."""
    mount = mounts.overlay([folder, "/other", folder], folder + "/u", "/w")
    assert mounts.parse(mount) == mounts.Overlay((folder, "/other", folder), folder + "/u", "/w")
    mount = mounts.overlay(["/a"], "/u", "/w", volatile=True)
    assert mounts.parse(mount) == mounts.Overlay(("/a",), "/u", "/w", volatile=True)
    assert mounts.parse(mount).readable() == mounts.Overlay(("/u", "/a"))
    assert mount.options[-1] == "userxattr"


def test_what_is_only_read_has_no_upper_directory() -> None:
    """So that the same snapshot may be mounted for a container meanwhile."""
    tree = mounts.Overlay(("/b", "/a"), "/u", "/w")
    assert tree.readable() == mounts.Overlay(("/u", "/b", "/a"))
