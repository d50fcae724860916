from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.analysis.difference import file_changes, setting_changes, settings
from nbcontainers.oci.descriptor import Platform
from nbcontainers.oci.image import ContainerConfig, Healthcheck, ImageConfig
from nbcontainers.results import Entry, FileKind
from nbcontainers.store.entries import Index
from tests.analysis.test_stack import file, folder, gone, layer, opaque


def kinds(base: list[Index], before: list[Index], after: list[Index]) -> dict[str, str]:
    return {change.path: change.kind for change in file_changes(base, before, after)}


def test_files_are_compared_and_sorted() -> None:
    """Added, modified and deleted paths, sorted, with both sides and the growth in bytes."""
    before = [layer(folder("/a"), file("/a/same", 1), file("/a/more", 10), file("/a/less", 5))]
    after = [layer(folder("/a"), file("/a/same", 1), file("/a/more", 12), file("/a/new", 7))]
    changes = file_changes([], before, after)
    assert [(change.kind, change.path, change.growth) for change in changes] == [
        ("deleted", "/a/less", -5),
        ("modified", "/a/more", 2),
        ("added", "/a/new", 7),
    ]
    assert changes[0].after is None
    assert changes[1].before is not None
    assert changes[1].before.size == 10
    assert changes[2].before is None


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (file("/f", 3, digest=f"sha256:{9:064x}"), ("content",)),
        (file("/f", 3, mode=0o755), ("mode",)),
        (file("/f", 3, uid=5), ("owner",)),
        (file("/f", 3, gid=5), ("owner",)),
        (file("/f", 4, mode=0o600, uid=1), ("content", "mode", "owner")),
        (Entry(path="/f", kind="symlink", link="x", mode=0o644), ("kind", "content")),
    ],
)
def test_the_fields_that_differ_are_named(changed: Entry, what: tuple[str, ...]) -> None:
    """kind, content, mode, owner."""
    (change,) = file_changes([], [layer(file("/f", 3))], [layer(changed)])
    assert change.what == what


def test_a_link_differs_by_its_target() -> None:
    """The targets are shown on both sides."""
    before, after = (layer(Entry(path="/l", kind="symlink", link=target, mode=0o777)) for target in ("a", "b"))
    (change,) = file_changes([], [before], [after])
    assert change.what == ("link",)
    assert change.before is not None
    assert change.after is not None
    assert (change.before.link, change.after.link) == ("a", "b")


def test_a_further_name_of_a_file_differs_with_its_content() -> None:
    """A hard link is as changed as the file that it names."""
    name = Entry(path="/h", kind="hardlink", link="/f", mode=0o644)
    changes = file_changes([], [layer(file("/f", 1), name)], [layer(file("/f", 2), name)])
    assert [(change.path, change.what) for change in changes] == [("/f", ("content",)), ("/h", ("content",))]
    assert sum(change.growth for change in changes) == 1, "its bytes are counted once"


def test_layers_above_a_common_base_are_compared_through_it() -> None:
    """Removed on one side, hidden on the other, written again with what it was: only real differences count."""
    base = [layer(folder("/a"), file("/a/x", 1), file("/a/y", 2), file("/z", 3))]
    assert kinds(base, [], [layer(gone("/a/x"))]) == {"/a/x": "deleted"}
    assert kinds(base, [layer(gone("/a"))], []) == {"/a": "added", "/a/x": "added", "/a/y": "added"}
    assert kinds(base, [layer(opaque("/a"), folder("/a"))], [layer(gone("/a/x"), gone("/a/y"))]) == {}
    assert kinds(base, [layer(file("/z", 3))], []) == {}
    assert kinds(base, [layer(file("/z", 4)), layer(file("/z", 3))], [layer(file("/new", 1))]) == {"/new": "added"}
    assert kinds(base, [], []) == {}


def test_settings_are_compared_by_key() -> None:
    """Each variable and label by itself, commands as JSON; a side where it is not set is None."""
    before = ImageConfig(
        platform=Platform(architecture="amd64"),
        config=ContainerConfig(env=("PATH=/bin", "A=1"), cmd=("sh",), labels={"x": "1"}, user="root"),
    )
    after = ImageConfig(
        platform=Platform(architecture="amd64"),
        created="2026-01-01T00:00:00Z",
        config=ContainerConfig(
            env=("PATH=/bin:/usr/bin", "B=a=b"), cmd=("sh", "-c", "é"), exposed_ports=("80/tcp",), labels={"x": "1"}
        ),
    )
    assert [(change.key, change.before, change.after) for change in setting_changes(before, after)] == [
        ("Cmd", '["sh"]', '["sh", "-c", "é"]'),
        ("Env.A", "1", None),
        ("Env.B", None, "a=b"),
        ("Env.PATH", "/bin", "/bin:/usr/bin"),
        ("ExposedPorts", None, "80/tcp"),
        ("User", "root", None),
    ]
    assert setting_changes(after, after) == ()


def test_every_setting_of_an_image_is_compared() -> None:
    """A field that is added to the configuration is compared too."""
    everything = ContainerConfig(
        user="u",
        exposed_ports=("1",),
        env=("E=1",),
        entrypoint=("e",),
        cmd=(),
        volumes=("/v",),
        working_dir="/w",
        labels={"l": "1"},
        stop_signal="SIGINT",
        shell=("s",),
        healthcheck=Healthcheck(test=("NONE",)),
        on_build=("RUN x",),
    )
    found = settings(ImageConfig(platform=Platform(architecture="amd64"), config=everything))
    keys = {key.partition(".")[0] for key in found}
    assert keys == set(everything.to_json()) | {"Platform"}


@given(st.data())
def test_two_builds_of_a_layer_are_compared_row_by_row(data: st.DataObject) -> None:
    """Where both have the same paths, the short way finds what the long one does: also of hard links, and of what was read from disk."""
    rows = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60, unique=False))
    paths = [f"/{number // 9}/{letter}{number}" for number, letter in enumerate(rows)]

    def layer() -> Index:
        made = Index()
        for number, path in enumerate(paths):
            kind = data.draw(st.sampled_from(["file", "file", "file", "hardlink", "symlink", "directory"]))
            link = data.draw(st.sampled_from(paths)) if kind in ("hardlink", "symlink") else ""
            digest = f"sha256:{data.draw(st.sampled_from('ab')) * 64}" if kind == "file" else ""
            made.add(
                Entry(
                    path=path,
                    kind=kind,
                    size=number,
                    mode=data.draw(st.sampled_from([0o644, 0o755])),
                    digest=digest,
                    link=link,
                )
            )
        return made

    before, after = layer(), layer()
    apart = Index(paths[::-1], after.records[::-1], after.links)
    expected = file_changes([], [before], [apart])  # in another order nothing is short
    for one, other in ((before, after), (Index.from_bytes(before.to_bytes()), Index.from_bytes(after.to_bytes()))):
        assert file_changes([], [one], [other]) == expected
    twice = Index([*paths, paths[0]], [*after.records, before.records[0]], {**after.links, **before.links})
    assert file_changes([], [twice], [twice]) == ()


def test_builds_of_several_layers_are_compared_in_their_order() -> None:
    """Stacks that have builds of the same layers in any order, with hard links, removed paths and files in the place of folders,
    differ as their trees do, however their layers are read."""
    names = ["/a", "/a/x", "/a/y", "/a/z", "/b", "/b/x", "/c"]
    kinds: list[FileKind] = ["file", "file", "file", "directory", "directory", "hardlink", "whiteout"]
    for seed in range(3000):
        random = Random(seed)
        shapes = [random.sample(names, random.randint(1, 7)) for _ in range(3)]

        def build(random: Random = random, shapes: list[list[str]] = shapes) -> Index:
            made = Index()
            for path in random.choice(shapes):
                kind = random.choice(kinds)
                link = random.choice(names) if kind == "hardlink" else ""
                digest = f"sha256:{random.choice('ab') * 64}" if kind == "file" else ""
                made.add(Entry(path=path, kind=kind, digest=digest, link=link))
            return made

        base, before = ([build() for _ in range(random.randint(0, most))] for most in (1, 3))
        after = [layer if random.random() < 0.5 else build() for layer in random.sample(before, len(before))]
        after += [build() for _ in range(random.randint(0, 2))]
        read = ([Index.from_bytes(layer.to_bytes()) for layer in layers] for layers in (base, before, after))
        assert file_changes(*read) == file_changes(base, before, after), seed
