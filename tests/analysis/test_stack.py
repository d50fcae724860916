from __future__ import annotations

import random

import pytest

from nbcontainers.analysis.stack import effects_of, instruction
from nbcontainers.oci.image import History
from nbcontainers.results import Entry
from nbcontainers.store.entries import OPAQUE, Index


def layer(*entries: Entry) -> Index:
    index = Index()
    for entry in entries:
        index.add(entry)
    return index


def file(path: str, size: int = 0, **fields: object) -> Entry:
    content = f"sha256:{size:064x}"
    return Entry(**({"path": path, "kind": "file", "size": size, "mode": 0o644, "digest": content} | fields))  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind="directory", mode=mode)


def gone(path: str) -> Entry:
    return Entry(path=path, kind="whiteout")


def opaque(path: str) -> Entry:
    return Entry(path=f"{path}/{OPAQUE}", kind="whiteout")


def counts(*layers: Index) -> list[tuple[int, int, int]]:
    return [(effect.added, effect.modified, effect.deleted) for effect in effects_of(layers)[0]]


def test_paths_are_counted_against_the_tree_below() -> None:
    """New, changed and removed paths; a folder that is only listed on the way counts as none of them."""
    base = layer(folder("/etc"), file("/etc/a", 10), file("/etc/b", 20))
    assert counts(
        base,
        layer(folder("/etc"), file("/etc/a", 11), file("/etc/c", 5), gone("/etc/b")),
        layer(folder("/etc", 0o700)),
        layer(file("/etc/a", 11)),
        layer(gone("/nothing")),
    ) == [(3, 0, 0), (1, 1, 1), (0, 1, 0), (0, 1, 0), (0, 0, 0)]


def test_a_removed_folder_takes_all_below_it_along() -> None:
    """A whiteout of a folder counts every path in it, and all their bytes are wasted."""
    effects, _ = effects_of(
        [layer(folder("/a"), folder("/a/b"), file("/a/b/x", 100), file("/a/y", 1), file("/ab", 7)), layer(gone("/a"))]
    )
    assert (effects[1].deleted, effects[0].wasted, effects[1].size) == (4, 101, 0)


def test_an_opaque_folder_hides_what_is_below_and_stays() -> None:
    """What was in it is removed, what the layer puts into it is there; the same path again is modified."""
    below = layer(folder("/a"), file("/a/x", 100), file("/a/y", 10))
    assert counts(below, layer(folder("/a"), opaque("/a"), file("/a/x", 3), file("/a/new", 4))) == [
        (3, 0, 0),
        (1, 1, 1),
    ]
    assert effects_of([below, layer(folder("/a"), opaque("/a"), file("/a/x", 3))])[0][0].wasted == 110
    assert counts(below, layer(opaque("/a"), folder("/a")), layer(gone("/a"))) == [(3, 0, 0), (0, 0, 2), (0, 0, 1)]


def test_an_opaque_root_hides_everything() -> None:
    """The marker of the root folder is one like any other."""
    assert counts(
        layer(folder("/"), file("/x", 1), folder("/a"), file("/a/y", 2)), layer(opaque(""), file("/z", 1))
    ) == [
        (4, 0, 0),
        (1, 0, 3),
    ]


def test_something_else_in_the_place_of_a_folder_removes_what_was_in_it() -> None:
    """A file or link over a folder is one modified path, and its content is gone."""
    link = Entry(path="/a", kind="symlink", link="b")
    assert counts(layer(folder("/a"), file("/a/x", 5)), layer(link)) == [(2, 0, 0), (0, 1, 1)]
    assert counts(layer(link), layer(folder("/a"))) == [(1, 0, 0), (0, 1, 0)]


def test_a_folder_made_anew_is_not_the_old_one() -> None:
    """A whiteout and the same path in one layer: what was below is gone, the path itself is modified or the same folder."""
    below = layer(folder("/a"), file("/a/x", 5), file("/f", 6))
    assert counts(below, layer(gone("/f"), gone("/a"), folder("/a"))) == [(3, 0, 0), (0, 0, 2)]


def test_sizes_are_those_of_files_with_each_counted_once() -> None:
    """A further name of a file, a link and a folder hold no bytes; the largest files come first."""
    hard = Entry(path="/h", kind="hardlink", link="/x", size=100)
    (effect,), score = effects_of(
        [
            layer(
                folder("/d"),
                file("/x", 100),
                hard,
                Entry(path="/s", kind="symlink", link="x"),
                file("/y", 300),
                file("/z"),
            )
        ]
    )
    assert effect.size == 400
    assert [entry.path for entry in effect.largest] == ["/y", "/x"]
    assert score == 1.0


def test_wasted_bytes_belong_to_the_layer_that_holds_them() -> None:
    """Each copy that is replaced or removed later counts where it lies."""
    effects, _ = effects_of([layer(file("/x", 100)), layer(file("/x", 200)), layer(file("/x", 300)), layer(gone("/x"))])
    assert [effect.wasted for effect in effects] == [100, 200, 300, 0]


def test_efficiency_is_dives() -> None:
    """The example of dive's own test, where folders are in the layers as in every real image.

    nginx.conf is there twice (2000 of 7000 bytes are needed), and the removed folder counts once more with its 8000 bytes.
    """
    _, score = effects_of(
        [
            layer(
                folder("/etc"),
                folder("/etc/nginx"),
                file("/etc/nginx/nginx.conf", 2000),
                file("/etc/nginx/public", 3000),
            ),
            layer(
                folder("/etc"), folder("/etc/nginx"), file("/etc/nginx/nginx.conf", 5000), file("/etc/athing", 10000)
            ),
            layer(folder("/etc"), gone("/etc/nginx")),
        ]
    )
    assert score == pytest.approx((2000 + 3000 + 10000 + 8000) / (7000 + 3000 + 10000 + 8000))
    assert effects_of([layer(file("/nothing"))])[1] == 1.0
    assert effects_of([])[1] == 1.0
    assert effects_of([layer(file("/x", 50)), layer(gone("/x"))])[1] == 0.0


def test_removals_agree_with_a_tree_that_is_walked() -> None:
    """Random layers: what is left, and every count, is what the plain definition gives."""
    chance = random.Random(5)
    names = [f"/{a}{b}{c}" for a in "pq" for b in ("", "/r", "/s") for c in ("", "/t", "/u")]
    for _ in range(300):
        layers = []
        for _ in range(4):
            entries: dict[str, Entry] = {}
            for name in chance.sample(names, 6):
                kind = chance.choice(("file", "folder", "gone", "opaque"))
                made = {
                    "file": file(name, chance.randrange(9)),
                    "folder": folder(name),
                    "gone": gone(name),
                    "opaque": opaque(name),
                }
                entries[name] = made[kind]
            layers.append(layer(*(entries[name] for name in sorted(entries))))
        assert counts(*layers) == list(walked(layers))


def walked(layers: list[Index]) -> list[tuple[int, int, int]]:
    tree: dict[str, Entry] = {}
    found = []
    for index in layers:
        below = dict(tree)
        for entry in index:
            if entry.kind == "whiteout":
                hidden = entry.path.removesuffix(f"/{OPAQUE}")
                itself = hidden == entry.path
                for path in list(tree):
                    if (
                        path.startswith(f"{hidden}/") and below[hidden].kind == "directory"
                        if hidden in below
                        else False
                    ):
                        del tree[path]
                if itself:
                    tree.pop(hidden, None)
            elif entry.kind != "directory" and entry.path in below and below[entry.path].kind == "directory":
                for path in list(tree):
                    if path.startswith(f"{entry.path}/"):
                        del tree[path]
        new = {entry.path: entry for entry in index if entry.kind != "whiteout"}
        added = sum(path not in below for path in new)
        modified = sum(
            path in below and (entry.kind != "directory" or entry != below[path]) for path, entry in new.items()
        )
        tree |= new
        found.append((added, modified, sum(path not in tree for path in below)))
    return found


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("RUN |2 A=b C=d e /bin/sh -c make $A # buildkit", "RUN make $A"),
        ("RUN |1 A=b make -j 2 # buildkit", "RUN make -j 2"),
        ("|1 A=b /bin/sh -c make", "RUN make"),
        ("COPY . /app # buildkit", "COPY . /app"),
        ("toolbox: core programs", "toolbox: core programs"),
    ],
)
def test_instructions_read_as_in_a_dockerfile(written: str, read: str) -> None:
    """The shell, the build arguments and the remarks that builders put around them are taken off."""
    assert instruction(History(created_by=written)) == read


def test_a_line_without_an_instruction_shows_its_comment() -> None:
    """Imported images have only that."""
    assert instruction(History(comment="Imported from -")) == "Imported from -"
