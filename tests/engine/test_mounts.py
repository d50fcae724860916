"""What docker's words for mounts mean: a table of words, and a table of those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbcontainers.engine import mounts
from nbcontainers.engine.mounts import MountPoint
from nbcontainers.errors import NBContainersError

_MEMORY = ("noexec", "nosuid", "nodev")


def point(kind: Any, destination: str, **words: Any) -> MountPoint:
    return MountPoint(kind=kind, destination=destination, **words)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("/a:/data/:ro", point("bind", "/data", source="/a", readonly=True, create=True)),
        ("/a/../b/:/d", point("bind", "/d", source="/b", create=True)),
        ("/a:/d:rslave,ro", point("bind", "/d", source="/a", readonly=True, propagation="rslave", create=True)),
        ("/a:/d:z", point("bind", "/d", source="/a", create=True)),
        ("/a:/d:cached", point("bind", "/d", source="/a", create=True)),
        ("data:/d", point("volume", "/d", source="data")),
        ("data:/d:nocopy,rw", point("volume", "/d", source="data", nocopy=True)),
        ("/d", point("volume", "/d")),
    ],
)
def test_words_of_volume(word: str, wanted: MountPoint) -> None:
    """A path is the host's, a name is a volume, and a place alone is a volume without a name."""
    assert mounts.bind(word) == wanted


def test_paths_are_those_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``.`` is the working directory and ``~`` the home, as a shell would have written them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert mounts.bind("./x:/d").source == str(tmp_path / "x")
    assert mounts.mount("source=~/x,target=/d,type=bind").source == "/home/ann/x"


@pytest.mark.parametrize(
    "word",
    [
        *("/tmp:x", "/tmp:/", "/tmp:/x:rx", ":/x", "/tmp:/a:/b:c", "x", "data:/d:rslave", "a::b"),
        *("/a:/d:ro,rw", "/a:/d:shared,slave", "data:/d:z,Z", "/a:/d:cached,delegated"),
    ],
)
def test_volumes_that_mean_nothing_are_refused(word: str) -> None:
    """Each error has a hint that says what to write."""
    with pytest.raises(NBContainersError) as caught:
        mounts.bind(word)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("type=bind,source=/a,target=/d", point("bind", "/d", source="/a")),
        ("type=bind,src=/a,dst=/d,ro", point("bind", "/d", source="/a", readonly=True)),
        ("type=bind,src=/a,destination=/d,readonly=false", point("bind", "/d", source="/a")),
        ('type=bind,"src=/a,b",dst=/d', point("bind", "/d", source="/a,b")),
        ("type=bind,src=/a,dst=/d,bind-propagation=rshared", point("bind", "/d", source="/a", propagation="rshared")),
        ("type=bind,src=/a,dst=/d,bind-nonrecursive", point("bind", "/d", source="/a", recursion="disabled")),
        ("type=bind,src=/a,dst=/d,bind-recursive=disabled", point("bind", "/d", source="/a", recursion="disabled")),
        (
            "type=bind,src=/a,dst=/d,ro,bind-recursive=writable",
            point("bind", "/d", source="/a", readonly=True, recursion="writable"),
        ),
        ("source=data,target=/d", point("volume", "/d", source="data")),
        ("type=volume,target=/d,volume-nocopy", point("volume", "/d", nocopy=True)),
        ("type=volume,src=v,dst=/d,volume-subpath=a/./b", point("volume", "/d", source="v", subpath="a/b")),
        (
            "type=volume,src=v,dst=/d,volume-label=x=1,volume-label=y,volume-driver=local",
            point("volume", "/d", source="v", labels=(("x", "1"), ("y", ""))),
        ),
        ("type=tmpfs,target=/d", point("tmpfs", "/d", options=_MEMORY)),
        (
            "type=tmpfs,dst=/d,tmpfs-size=1m,tmpfs-mode=1777",
            point("tmpfs", "/d", options=(*_MEMORY, "size=1048576", "mode=1777")),
        ),
        ("type=tmpfs,dst=/d,ro", point("tmpfs", "/d", readonly=True, options=(*_MEMORY, "ro"))),
        ("type=bind,src=/a,dst=/d,consistency=cached", point("bind", "/d", source="/a")),
        ("type=image,src=a/b:1,dst=/d", point("image", "/d", source="a/b:1")),
        ("type=Image,source=a,target=/d,readonly", point("image", "/d", source="a", readonly=True)),
        (
            "type=image,src=a,dst=/d,readonly=false,image-subpath=b/./c/",
            point("image", "/d", source="a", subpath="b/c"),
        ),
    ],
)
def test_words_of_mount(word: str, wanted: MountPoint) -> None:
    """The syntax of docker's ``--mount``, which is that of CSV."""
    assert mounts.mount(word) == wanted
    assert MountPoint.from_json(wanted.to_json()) == wanted


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "target is required"),
        ("type=bind,target=/d", "source is required"),
        ("type=bind,src=a,dst=/d", "no path"),
        ("type=bind,src=/a,dst=d", "not a place inside"),
        ("type=disk,dst=/d", "unknown mount type 'disk'"),
        ("type=npipe,src=x,dst=/d", "unknown mount type 'npipe'"),
        ("type=image,dst=/d", "source is required for an image"),
        ("type=image,src=x", "target is required"),
        ("type=image,src=x,dst=/d,image-subpath=/a", "leads out of the image"),
        ("type=image,src=x,dst=/d,image-subpath=a/../../b", "leads out of the image"),
        ("type=image,src=x,dst=/d,rw", "invalid field 'rw'"),
        ("type=image,src=x,dst=/d,bind-propagation=rslave", "cannot mix 'bind-\\*' options with mount type 'image'"),
        ("type=image,src=x,dst=/d,volume-subpath=a", "cannot mix 'volume-\\*'"),
        ("type=image,src=x,dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-\\*'"),
        ("type=bind,src=/a,dst=/d,image-subpath=a", "cannot mix 'image-\\*' options with mount type 'bind'"),
        ("type=volume,src=a,dst=/d,image-subpath=a", "cannot mix 'image-\\*'"),
        ("src", "must be a key=value pair"),
        ("colour=red,dst=/d", "unexpected key 'colour'"),
        ("dst=/d,ro=perhaps", "invalid value for ro: perhaps"),
        ("type=tmpfs,src=/a,dst=/d", "no source"),
        ("type=tmpfs,dst=/d,tmpfs-mode=9", "tmpfs-mode"),
        ("type=bind,src=/a,dst=/d,volume-nocopy", "cannot mix 'volume-\\*' options with mount type 'bind'"),
        ("type=volume,src=a,dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-\\*'"),
        ("type=volume,src=a,dst=/d,bind-propagation=rslave", "cannot mix 'bind-\\*'"),
        ("type=bind,src=/a,dst=/d,bind-propagation=up", "bind-propagation"),
        ("type=bind,src=/a,dst=/d,bind-recursive=readonly", "needs readonly"),
        ("type=bind,src=/a,dst=/d,ro,bind-recursive=readonly,bind-propagation=rslave", "needs bind-propagation"),
        ("src=v,dst=/d,volume-subpath=../x", "leads out"),
        ("src=v,dst=/d,volume-driver=nfs", "no volume driver 'nfs'"),
        ("src=v,dst=/d,volume-opt=type=nfs", "takes no option"),
    ],
)
def test_mounts_that_mean_nothing_are_refused(word: str, message: str) -> None:
    """The error repeats the word and says which part of it is wrong; the hint says what to write."""
    with pytest.raises(NBContainersError, match=message) as caught:
        mounts.mount(word)
    assert caught.value.hint


def test_one_place_takes_one_mount() -> None:
    """Two mounts on one place are refused; what covers an image's VOLUME stands for it."""
    with pytest.raises(NBContainersError, match="duplicate mount point: /d"):
        mounts.asked({"volumes": ["/a:/d"], "tmpfs": ["/d/"]})
    found = mounts.asked({"volumes": ["v:/d"]}, ["/d", "/e"])
    assert [(entry.destination, entry.source) for entry in found] == [("/d", "v"), ("/e", "")]


@pytest.mark.parametrize("word", ["/d:colour=red", "d", "/", "/d:size=many"])
def test_folders_in_memory_that_mean_nothing_are_refused(word: str) -> None:
    """As with volumes."""
    with pytest.raises(NBContainersError) as caught:
        mounts.memory_folder(word)
    assert caught.value.hint
