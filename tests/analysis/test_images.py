from __future__ import annotations

import pytest

from nbcontainers.analysis.difference import image_diff
from nbcontainers.analysis.stack import layer_stack
from nbcontainers.errors import IntegrityError
from nbcontainers.oci.descriptor import Platform
from nbcontainers.oci.reference import Reference
from nbcontainers.store.entries import Index
from nbcontainers.store.store import Store
from tests.analysis.archives import image


def test_a_stack_joins_layers_with_their_instructions(store: Store) -> None:
    """From the base up; an instruction without a layer has no digest and counts nothing; the sums are those of the layers."""
    made = image(store, {"a/x": 100, "a/y": 50}, {"a/x": 300, "b": 7}, {"a/.wh.y": 0})
    stack = layer_stack(store, made)
    assert [layer.instruction for layer in stack.layers] == ["RUN step 0", "USER me", "RUN step 1", "RUN step 2"]
    assert [layer.digest for layer in stack.layers] == [
        made.layers[0].digest,
        None,
        *(entry.digest for entry in made.layers[1:]),
    ]
    assert [layer.diff_id for layer in stack.layers if layer.diff_id] == list(made.config.diff_ids)
    assert [(layer.added, layer.modified, layer.deleted) for layer in stack.layers] == [
        (3, 0, 0),
        (0, 0, 0),
        (1, 1, 0),
        (0, 0, 1),
    ]
    assert (stack.size, stack.wasted, stack.stored_size) == (457, 150, made.size)
    assert (stack.id, stack.platform) == (made.id, str(Platform.host()))
    assert stack.layers[2].largest[0].path == "/a/x"
    assert 0 < stack.efficiency < 1


def test_a_layer_tells_which_other_images_share_it(store: Store) -> None:
    """By their names, or the beginning of their IDs; the same image by another name is no other one."""
    base = {"a/x": 100}
    one, two, alone = image(store, base, {"b": 1}), image(store, base, {"c": 1}, {"b": 1}), image(store, {"z": 1})
    store.images.tag(one, Reference.parse("one"))
    store.images.tag(one, Reference.parse("one:again"))
    shared = [layer.shared_with for layer in layer_stack(store, two).layers if layer.digest]
    assert [sorted(names) for names in shared] == [["one:again", "one:latest"], [], ["one:again", "one:latest"]]
    assert [layer.shared_with for layer in layer_stack(store, one).layers if layer.digest] == [(two.id.short,)] * 2
    assert not any(layer.shared_with for layer in layer_stack(store, alone).layers)


def test_images_on_one_base_differ_in_what_is_above_it(store: Store) -> None:
    """Shared layers are counted and their files do not show; settings are compared."""
    base = {"a/x": 100, "a/y": 50, "keep": 3}
    before = image(store, base, {"a/x": 300}, user="me")
    after = image(store, base, {"a/.wh.y": 0, "new": 9}, env=("A=1",))
    found = image_diff(store, before, after)
    assert found.shared_layers == 1
    assert [(change.kind, change.path, change.growth) for change in found.files] == [
        ("modified", "/a/x", -200),
        ("deleted", "/a/y", -50),
        ("added", "/new", 9),
    ]
    assert [change.key for change in found.settings] == ["Env.A", "User"]
    assert (found.before, found.after) == (before.name, after.name)
    assert found.count("added") == 1


def test_layers_are_unpacked_when_they_are_asked_about_and_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack unpacks what is not; the next one reads indexes only, and no tree."""
    made = image(store, {"x": 1}, {"x": 2})
    first = layer_stack(store, made)
    for chain in made.chain_ids:
        (store.root / "layers" / chain.hex / "fs").rename(store.root / "trash" / chain.hex)
    monkeypatch.setattr(type(store.snapshots), "unpack", None)
    assert layer_stack(store, made) == first


def test_an_image_does_not_differ_from_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read to find that out."""
    made = image(store, {"x": 1})
    monkeypatch.setattr(Index, "from_bytes", None)
    found = image_diff(store, made, made)
    assert (found.files, found.settings, found.shared_layers) == ((), (), 1)


def test_an_image_of_other_layers_differs_in_all_of_them(store: Store) -> None:
    """With nothing in common the whole trees are compared; the same tree in other layers is the same."""
    one = image(store, {"a/x": 100, "a/y": 50})
    two = image(store, {"a/x": 100}, {"a/y": 50})
    assert image_diff(store, one, two).files == ()
    assert image_diff(store, one, two).shared_layers == 0
    assert [change.path for change in image_diff(store, one, image(store, {"z": 1})).files] == [
        "/a",
        "/a/x",
        "/a/y",
        "/z",
    ]


def test_a_torn_index_is_an_error_and_no_wrong_answer(store: Store) -> None:
    """The checksum of the index is looked at."""
    made = image(store, {"x": 1})
    layer_stack(store, made)
    path = store.root / "layers" / made.chain_ids[0].hex / "index"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="torn"):
        layer_stack(store, made)
