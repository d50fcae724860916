"""WWW-Authenticate, as the specification and as servers write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.store.registry.challenges import Challenge, parse

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push"'


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], []),
        (['Basic realm="r"'], [("basic", {"realm": "r"})]),
        (["Basic"], [("basic", {})]),
        (["bAsIc ReAlM=r"], [("basic", {"realm": "r"})]),
        (
            [HUB],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/x:pull,push",
                    },
                )
            ],
        ),
        (['Basic realm="a, b", Bearer realm="c"'], [("basic", {"realm": "a, b"}), ("bearer", {"realm": "c"})]),
        (['Basic realm="a"', 'Bearer realm="c"'], [("basic", {"realm": "a"}), ("bearer", {"realm": "c"})]),
        (["Negotiate YWJj==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        ([r'Basic realm="a \"quoted\" \\ word"'], [("basic", {"realm": r'a "quoted" \ word'})]),
        (['Bearer realm = "x" ,, service="y"'], [("bearer", {"realm": "x", "service": "y"})]),
        (['Bearer realm="x",error="invalid_token"'], [("bearer", {"realm": "x", "error": "invalid_token"})]),
        (['Basic realm="never closed'], [("basic", {})]),
        ([""], []),
        ([", ,"], []),
    ],
)
def test_challenges_are_read(headers: list[str], found: list[tuple[str, dict[str, str]]]) -> None:
    """Several in a header, several headers, quotes, lists and what is broken."""
    assert parse(headers) == tuple(Challenge(scheme, parameters) for scheme, parameters in found)


@given(st.text(alphabet='Basicr="\\, \t=:;xYz/', max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    """No header hangs the reader or breaks it."""
    parse([text, text])
