"""Golden Dockerfiles: each ``corpus/NAME.dockerfile`` with ``NAME.expected``, its steps or its error.

``NBC_GOLDEN=write pytest tests/build/test_corpus.py`` writes what is given now; read the difference before it is committed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from nbcontainers.build import plan as planning
from nbcontainers.build.parser import parse
from nbcontainers.build.steps import Configure, Copy, Run, Source
from nbcontainers.errors import DockerfileError, NotFound
from nbcontainers.oci.descriptor import Descriptor, Digest, Platform
from nbcontainers.oci.image import ContainerConfig, Image, ImageConfig, Manifest
from nbcontainers.oci.reference import Reference

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.dockerfile"))
AMD64 = Platform(architecture="amd64")


def image(name: str) -> Image:
    """The images that the corpus begins with."""
    reference = Reference.parse(name)
    if reference.repository not in ("library/debian", "library/busybox"):
        raise NotFound(f"no image {name!r}", hint="see nbcontainers images")
    blob = Descriptor(media_type="application/x", digest=Digest.of(name.encode()), size=1)
    config = ContainerConfig(env=("PATH=/bin", "IMAGE=yes"), cmd=("bash",))
    return Image(
        reference=reference,
        descriptor=blob,
        manifest=Manifest(config=blob, layers=(blob,)),
        config=ImageConfig(platform=AMD64, config=config, diff_ids=(Digest.of(b"tree"),)),
    )


def told(text: str) -> str:
    """A plan, or the error, as a person would write it down."""
    try:
        made = planning.plan(text, resolve=image, platform=AMD64)
    except DockerfileError as error:
        lines = "-".join(map(str, error.lines))
        return f"error at {lines}\n  {error.message}\n  hint: {error.hint}\n"
    written = []
    for index, node in enumerate(made.nodes):
        place = "-".join(map(str, dict.fromkeys(node.lines)))
        links = f" on {node.parent}" if node.parent is not None else ""
        links += f" from {node.origin}" if node.origin is not None else ""
        written.append(f"{index} [{node.stage}] {place}: {node.title}{links}")
        match node.step:
            case Source(image=None):
                written.append("  source scratch")
            case Source(image=source):
                written.append(f"  source {source}" if source is None else f"  source {source.name}")
            case Run() | Copy():
                fields = dataclasses.asdict(node.step)
                shown = {name: value for name, value in fields.items() if value not in ("", (), None, False)}
                written.append(f"  {type(node.step).__name__.lower()} {json.dumps(shown)}")
            case Configure():
                pass
        if node.created_by:
            written.append(f"  history {node.created_by!r}")
    written += [f"warning at {warning.line}: {warning.message}" for warning in made.warnings]
    written.append(f"target {made.target}, author {made.config.author!r}")
    written.append(json.dumps(made.config.config.to_json(), indent=1, ensure_ascii=False))
    return "\n".join(written) + "\n"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_dockerfile_is_planned_as_expected(path: Path) -> None:
    """Every Dockerfile of the corpus gives its steps, history and configuration, or its error with line and hint."""
    given = told(path.read_bytes().decode())
    golden = path.with_suffix(".expected")
    if os.environ.get("NBC_GOLDEN") == "write":
        golden.write_text(given)
    assert given == golden.read_text()


@pytest.mark.parametrize(
    "path", [path for path in CORPUS if path.stem.startswith("error-")], ids=lambda path: path.stem
)
def test_an_error_says_where_and_what_to_do(path: Path) -> None:
    """Every error names lines of the Dockerfile, begins with them, is in lower case and has a hint."""
    text = path.read_text()
    with pytest.raises(DockerfileError) as caught:
        planning.plan(text, resolve=image, platform=AMD64)
    first, last = caught.value.lines
    assert 1 <= first <= last <= max(1, len(text.splitlines()))
    assert caught.value.message.startswith(("line ", "lines "))
    assert caught.value.hint
    assert not caught.value.message.endswith(".")


def test_no_instruction_costs_more_than_its_words() -> None:
    """A Dockerfile of a thousand instructions is parsed in well under a second."""
    text = "FROM scratch\n" + "RUN echo one \\\n  && echo two\n" * 1000
    assert len(parse(text).lines) == 1001
