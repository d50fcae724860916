from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.errors import InvalidReference
from nbcontainers.oci.reference import Reference

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8
IDENTIFIER = "0123456789abcdef" * 4

# text, registry, repository, tag, digest, familiar form
GRAMMAR = [
    ("alpine", "docker.io", "library/alpine", "latest", "", "alpine:latest"),
    ("alpine:3.19", "docker.io", "library/alpine", "3.19", "", "alpine:3.19"),
    ("library/alpine", "docker.io", "library/alpine", "latest", "", "alpine:latest"),
    ("docker.io/alpine", "docker.io", "library/alpine", "latest", "", "alpine:latest"),
    ("docker.io/library/alpine", "docker.io", "library/alpine", "latest", "", "alpine:latest"),
    ("index.docker.io/alpine", "docker.io", "library/alpine", "latest", "", "alpine:latest"),
    ("index.docker.io/someone/alpine", "docker.io", "someone/alpine", "latest", "", "someone/alpine:latest"),
    ("someone/alpine:Edge", "docker.io", "someone/alpine", "Edge", "", "someone/alpine:Edge"),
    ("someone/with/slashes", "docker.io", "someone/with/slashes", "latest", "", "someone/with/slashes:latest"),
    ("under_score/image", "docker.io", "under_score/image", "latest", "", "under_score/image:latest"),
    ("a__b/c.d/e---f", "docker.io", "a__b/c.d/e---f", "latest", "", "a__b/c.d/e---f:latest"),
    ("a/b", "docker.io", "a/b", "latest", "", "a/b:latest"),
    ("10.0.0.1", "docker.io", "library/10.0.0.1", "latest", "", "10.0.0.1:latest"),
    ("10.0.0.1:80", "docker.io", "library/10.0.0.1", "80", "", "10.0.0.1:80"),
    ("10.0.0.1:80/image", "10.0.0.1:80", "image", "latest", "", "10.0.0.1:80/image:latest"),
    ("host:5000", "docker.io", "library/host", "5000", "", "host:5000"),
    ("host:5000/image:5001", "host:5000", "image", "5001", "", "host:5000/image:5001"),
    ("localhost/image", "localhost", "image", "latest", "", "localhost/image:latest"),
    ("quay.example/a/b:v1", "quay.example", "a/b", "v1", "", "quay.example/a/b:v1"),
    ("UPPER/image", "UPPER", "image", "latest", "", "UPPER/image:latest"),
    (
        "xn--bcher-kva.example/image",
        "xn--bcher-kva.example",
        "image",
        "latest",
        "",
        "xn--bcher-kva.example/image:latest",
    ),
    ("[fe80::1]/image", "[fe80::1]", "image", "latest", "", "[fe80::1]/image:latest"),
    ("[::1]:5000/image:v1", "[::1]:5000", "image", "v1", "", "[::1]:5000/image:v1"),
    (f"alpine@{SHA256}", "docker.io", "library/alpine", "", SHA256, f"alpine@{SHA256}"),
    (f"alpine:3.19@{SHA256}", "docker.io", "library/alpine", "3.19", SHA256, f"alpine:3.19@{SHA256}"),
    (f"host:5000/image@{SHA512}", "host:5000", "image", "", SHA512, f"host:5000/image@{SHA512}"),
    (f"docker.io/{IDENTIFIER}", "docker.io", f"library/{IDENTIFIER}", "latest", "", f"{IDENTIFIER}:latest"),
    (IDENTIFIER[:63], "docker.io", f"library/{IDENTIFIER[:63]}", "latest", "", f"{IDENTIFIER[:63]}:latest"),
    ("alpine:" + "t" * 128, "docker.io", "library/alpine", "t" * 128, "", "alpine:" + "t" * 128),
    ("alpine:_x.Y-9", "docker.io", "library/alpine", "_x.Y-9", "", "alpine:_x.Y-9"),
    ("r.example/" + "/".join(["a"] * 128), "r.example", "/".join(["a"] * 128), "latest", "", None),
]

REFUSED = [
    "",
    ":tag",
    "/image",
    "image/",
    "a//b",
    "-image",
    "image-",
    "-a/image",
    "a-/image",
    "_a/_b",
    "____/____",
    "a..b/image",
    "a_.b/image",
    "a-.b",
    "a___b",
    ".image",
    "image.",
    "Image",
    "a/Image",
    "docker.io/a/Image",
    "https://host.example/a/image",
    "a b",
    "a\nb",
    "alpine\n",
    "alpine:latest\n",
    "ima*ge",
    "алпайн",
    "image:",
    "image:-tag",
    "image:.tag",
    "image:" + "t" * 129,
    "image:a:b",
    "image@",
    "image@sha256:" + "0" * 34,
    "image@sha256:" + "A" * 64,
    "image@md5:" + "0" * 32,
    f"image@{SHA256}@{SHA256}",
    f"@{SHA256}",
    "[fe80::1]",
    "[fe80::1]:5000",
    "fe80::1:5000/image",
    "[fe80::1%eth0]/image",
    "host.example:/image",
    "host.example:port/image",
    "-host.example/image",
    "host..example/image",
    IDENTIFIER,
    "/".join(["a"] * 129),
]


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest", "familiar"), GRAMMAR, ids=[row[0][:40] for row in GRAMMAR]
)
def test_names_mean_what_they_mean_to_docker(
    text: str, registry: str, repository: str, tag: str, digest: str, familiar: str | None
) -> None:
    """A name is read into the same registry, repository, tag and digest as Docker reads it, and shown as Docker shows it."""
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository) == (registry, repository)
    assert (reference.tag, reference.digest) == (tag, digest)
    if familiar:
        assert reference.familiar == familiar
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference or IDENTIFIER in text


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:40]))
def test_malformed_names_are_refused_with_a_hint(text: str) -> None:
    """What Docker's grammar does not hold is an InvalidReference that says what the part may hold."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.hint


def test_a_name_in_capitals_is_answered_with_the_one_meant() -> None:
    """The commonest mistake gets the name itself as its hint."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("MyImage:v1")
    assert "'myimage:v1'" in caught.value.hint


@given(st.from_regex(r"(?:[a-z0-9.:\[\]-]{1,12}/)?[a-z0-9._/-]{1,20}(?::[\w.-]{1,8})?", fullmatch=True))
def test_whatever_is_read_is_written_and_read_again(text: str) -> None:
    """The canonical form of a name is a name for the same thing; nothing else than InvalidReference comes of any text."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar).name == reference.name
    assert reference.tag or reference.digest


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    """No text breaks the parser."""
    with contextlib.suppress(InvalidReference):
        Reference.parse(text)
