"""The corpus against BuildKit: the same configuration, history and tree for every Dockerfile of ``buildkit``, ``modern`` and ``labs``.

What BuildKit gave is kept beside the Dockerfiles: for the first folder that of Debian's docker.io 20.10, for the second, which has
newer syntax, that of 28.5, for the third that of a 28.5 which was built with the tag ``dfparents`` and whose version begins with
``labs-``. ``NBC_GOLDEN=write`` asks a dockerd of such a version again and writes it. In CI the old one is asked
too, so that what is kept stays true. ``DIFFERENCES`` is the table of what differs on purpose.
"""

from __future__ import annotations

import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbcontainers.errors import NBContainersError
from nbcontainers.store import archive
from tests.build import contexts, peer
from tests.build.conftest import Builder

CORPUS = Path(__file__).parent / "corpus"
VERSIONS = {"buildkit": "20.10.", "modern": "28.", "labs": "labs-28."}
TOPICS = sorted(topic for folder in VERSIONS for topic in (CORPUS / folder).glob("*.cases"))
CASES = [(topic, case) for topic in TOPICS for case in peer.cases(topic)]
_AT_ONCE = 4  # builds of BuildKit, which waits for the disk more than it works
_STUBS = "it leaves the empty folders on which it mounted; newer ones take them away, and so do we"
_FOLDERS = "it leaves folders that it makes with their usual mode; newer ones give them that of --chmod, and so do we"
_UNTOLD = "it keeps no --exclude with a variable in it (moby/buildkit#6072); it is replaced here, as everywhere"
_DANGLING = "it looks for what a link leads to; a link is copied here, as without --parents"
_ABOVE = (
    "it leaves the owner of a folder that is there, above what is copied; both owner and mode are the source's here"
)
# case: why ours differs from what BuildKit gives; of ``corpus/buildkit`` that is Debian's, 20.10.
DIFFERENCES: dict[str, str] = {
    "add-archive-chown": "it leaves what it unpacks with the archive's owners; newer ones heed --chown, and so do we",
    "add-archive-over-file": "it makes no folders below a link to nothing; newer ones do, inside the destination, and so do we",
    "copy-chmod": _FOLDERS,
    "copy-chmod-special": "it loses set-id and sticky bits of --chmod; newer ones keep them, and so do we",
    "copy-trailing-dot": "it takes a destination that ends in /. for a file; newer ones for a folder, and so do we",
    "heredoc-copy-name-path": "it makes no folders for a document whose name has slashes",
    "edge-link-broken-exclude": "it looks for what a link leads to that stands beside what --exclude leaves out; a link is copied here",
    "put-exclude-arg": _UNTOLD,
    "ignore-double-star": "it does not look below an ignored folder for !**/…; newer ones do, and so do we",
    "run-mount-bind": _STUBS,
    "run-mount-cache": _STUBS,
    "run-mount-from": _STUBS,
    "run-mount-tmpfs": _STUBS,
    "run-network": "it knows --network only by another syntax; newer ones do, and so do we",
    "run-root-attributes": "it loses the mode and owner of the root folder itself, which its layers have no entry for",
    "words-json-trailing": "it lets anything follow a JSON array; newer ones take that for a shell's command, and so do we",
    "target-number": "it takes a stage's name only; a number is taken here too",
    "parents-star-star-alone": _DANGLING,
    "parents-link-broken": _DANGLING,
    "parents-from-root-over": _ABOVE,
    "parents-own-over": _ABOVE,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return contexts.make(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def recorded(busybox: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What BuildKit gave for each case, asked anew where that is wanted."""
    kept = {
        topic: json.loads(topic.with_suffix(".json").read_text())
        for topic in TOPICS
        if topic.with_suffix(".json").exists()
    }
    if os.environ.get("NBC_GOLDEN") == "write" or os.environ.get("CI"):
        why = peer.Dockerd.missing()
        if not why:
            with peer.dockerd(tmp_path_factory.mktemp("dockerd")) as daemon:
                base = daemon.load(busybox, "busybox")
                fitting = [topic for topic in TOPICS if daemon.version.startswith(VERSIONS[topic.parent.name])]
                wanted = [(topic, case) for topic, case in CASES if topic in fitting]

                def ask(one: tuple[Path, peer.Case]) -> dict[str, Any]:
                    return peer.without(daemon.build(one[1], shared), base)

                found = {one: ask(one) for one in wanted if one[1].files}  # which are in the context meanwhile
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    others = [one for one in wanted if one not in found]
                    found.update(zip(others, pool.map(ask, others), strict=True))
                asked: dict[Path, dict[str, Any]] = {topic: {} for topic in fitting}
                for topic, case in wanted:
                    asked[topic][case.name] = found[topic, case]
            if os.environ.get("NBC_GOLDEN") == "write":
                for topic, found in asked.items():
                    topic.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
            kept |= asked
    return {name: found for topic in kept.values() for name, found in topic.items()}


def ours(builder: Builder, case: peer.Case, shared: Path) -> dict[str, Any]:
    options, arguments, target = list(case.options), {}, ""
    while options:
        word, value = options.pop(0), options.pop(0)
        if word == "--build-arg":
            arguments[value.partition("=")[0]] = value.partition("=")[2]
        elif word == "--target":
            target = value
    try:
        with case.context(shared):
            builder.context = shared
            made = builder.build(case.dockerfile, arguments=arguments, target=target)
    except NBContainersError as error:
        return {"error": str(error), "lines": list(getattr(error, "lines", ()))}
    return told(builder, made.image)


def told(builder: Builder, image: Any) -> dict[str, Any]:
    stream = io.BytesIO()
    archive.save(builder.store, [image], stream)
    stream.seek(0)
    return peer.described(stream)


@pytest.fixture(scope="module")
def base(started: Any) -> dict[str, Any]:
    builder = Builder(*started, Path("/"))
    return told(builder, builder.store.images.resolve("busybox"))


@pytest.mark.peer("docker")
@pytest.mark.parametrize("case", [case for _, case in CASES], ids=lambda case: case.name)
def test_an_image_is_buildkits(
    case: peer.Case, builder: Builder, shared: Path, recorded: dict[str, Any], base: dict[str, Any]
) -> None:
    """Configuration, history and every file are the same; where BuildKit refuses, so do we, and mark the lines that it marks."""
    if builder.host.identity.userns:
        pytest.skip("needs other owners than one: a host where containers have more than one id")
    theirs = recorded[case.name]
    mine = peer.without(ours(builder, case, shared), base)
    if case.name in DIFFERENCES:
        assert mine != theirs, f"no difference any more: {DIFFERENCES[case.name]}"
        return
    if "error" in theirs or "error" in mine:
        assert ("error" in theirs) == ("error" in mine), (theirs.get("error"), mine.get("error"))
        assert mine["lines"] == theirs.get("lines", mine["lines"]), (theirs["error"], mine["error"])
        return
    assert mine["config"] == theirs["config"]
    if theirs["history"] is not None:
        assert [_plain(*line) for line in mine["history"]] == [_plain(*line) for line in theirs["history"]]
    assert mine["tree"] == theirs["tree"]
    assert mine["author"] == theirs["author"]


def _plain(created_by: str, empty: bool) -> tuple[str, bool]:
    """A line of the history without what 20.10 leaves out: flags of COPY and ADD, values of ARG; its maps of ports are lists since."""
    if created_by.startswith("EXPOSE "):
        return f"EXPOSE {sorted(set(re.findall(r'[0-9]+/[a-z]+', created_by)))}", empty
    if created_by.startswith("HEALTHCHECK "):  # no interval for the start
        return re.sub(r'(\](?: "[^" ]+"){3}) "[^" ]+"', r"\1", created_by), empty
    if created_by.startswith("ARG "):
        return re.sub(r"=.*", "", created_by), empty
    return re.sub(
        r"(?<=^COPY)( --(parents|chown=\S+|chmod=\S+))+|(?<=^ADD)( --(chown=\S+|chmod=\S+))+", "", created_by
    ), empty
