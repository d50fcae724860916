from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine, NBContainersError, NotFound
from nbcontainers.oci.reference import Reference
from tests.store.random_images import random_image


@pytest.fixture(scope="module")
def engine(module_path: Path) -> Iterator[Engine]:
    with Engine(module_path) as made:
        with made.store.lease():
            for seed, names in enumerate((("app:1", "app:2"), ("registry.example/team/app",), ("apply",), ()), 1):
                image = random_image(made.store, seed)
                for name in names:
                    made.store.images.tag(image, Reference.parse(name))
        yield made


def names(engine: Engine, name: str = "", *filters: str) -> set[str]:
    return {image.reference.familiar if image.reference else "-" for image in engine.images(name, filters=filters)}


ALL = {"app:1", "app:2", "registry.example/team/app:latest", "apply:latest", "-"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", ALL),
        ("app", {"app:1", "app:2"}),
        ("app:2", {"app:2"}),
        ("docker.io/library/app", {"app:1", "app:2"}),
        ("app*", {"app:1", "app:2", "apply:latest"}),
        ("app:[2-3]", {"app:2"}),
        ("a?p:1", {"app:1"}),
        ("registry.example/*/app", {"registry.example/team/app:latest"}),
        ("*app", {"app:1", "app:2"}),
        ("nothing", set()),
    ],
)
def test_images_are_chosen_by_name_or_pattern(engine: Engine, name: str, found: set[str]) -> None:
    """Familiar or whole, with or without tag; no sign of a pattern matches a slash."""
    assert names(engine, name) == found
    assert names(engine, "", f"reference={name or '*'}") in (found, ALL - {"-", "registry.example/team/app:latest"})


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("dangling=true",), {"-"}),
        (("dangling=false",), ALL - {"-"}),
        (("label=seed=2",), {"registry.example/team/app:latest"}),
        (("label=seed", "label!=seed=1"), ALL - {"app:1", "app:2"}),
        (("before=apply",), {"app:1", "app:2", "registry.example/team/app:latest"}),
        (("since=apply",), {"-"}),
        (("since=app:1", "before=apply"), {"registry.example/team/app:latest"}),
        (("until=2024-01-01T00:00:02Z",), {"app:1", "app:2"}),
        (("reference=app", "reference=apply"), {"app:1", "app:2", "apply:latest"}),
    ],
)
def test_images_are_chosen_by_dockers_filters(engine: Engine, filters: tuple[str, ...], found: set[str]) -> None:
    """Several filters narrow the choice, several references widen it."""
    assert names(engine, "", *filters) == found


def test_filters_that_cannot_be_are_refused(engine: Engine) -> None:
    """Unknown keys and images that are not there are errors, with suggestions."""
    with pytest.raises(NBContainersError, match="no filter 'dangle'") as caught:
        names(engine, "", "dangle=true")
    assert "dangling" in caught.value.hint
    with pytest.raises(NotFound):
        names(engine, "", "before=nothing")
    with pytest.raises(NBContainersError, match="not a pattern"):
        names(engine, "a[z-a]")
