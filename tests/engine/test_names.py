"""Names of containers: one holder at a time, found by any word that means one container."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbcontainers.engine.names import ContainerNames
from nbcontainers.errors import Conflict, NBContainersError, NotFound


@pytest.fixture
def names(tmp_path: Path) -> ContainerNames:
    made = ContainerNames(tmp_path)
    for container in ("abc1" * 16, "abd2" * 16):
        made.folder(container).mkdir()
    return made


def test_a_name_an_id_and_its_beginning_find_a_container(names: ContainerNames) -> None:
    """As in docker: the name first, then IDs."""
    names.claim("abc1" * 16, "web")
    assert {names.find(word) for word in ("web", "abc", "abc1" * 16)} == {"abc1" * 16}


def test_one_slash_may_be_before_a_name(names: ContainerNames) -> None:
    """For inspect shows names so, and docker takes what it shows; a second one is part of no name."""
    assert names.claim("abc1" * 16, "/web") == "web"
    assert {names.find(word) for word in ("/web", "/abc", f"/{'abc1' * 16}")} == {"abc1" * 16}
    with pytest.raises(NotFound, match="'//web'"):
        names.find("//web")
    with pytest.raises(NBContainersError, match="invalid"):
        names.claim("abd2" * 16, "//web2")


def test_a_beginning_of_two_ids_is_refused(names: ContainerNames) -> None:
    """The error asks for more of the ID."""
    with pytest.raises(Conflict, match="2 containers"):
        names.find("ab")


def test_what_is_not_there_is_answered_with_the_nearest(names: ContainerNames) -> None:
    """``wbe`` suggests ``web``."""
    names.claim("abc1" * 16, "web")
    with pytest.raises(NotFound, match="wbe") as caught:
        names.find("wbe")
    assert "'web'" in caught.value.hint


def test_a_taken_name_says_who_holds_it(names: ContainerNames) -> None:
    """And what to do about it."""
    names.claim("abc1" * 16, "web")
    with pytest.raises(Conflict, match="abc1abc1abc1") as caught:
        names.claim("abd2" * 16, "web")
    assert "--replace" in caught.value.hint


def test_the_name_of_a_container_that_is_gone_is_free(names: ContainerNames) -> None:
    """A crash between two steps of a removal does not hold a name for ever."""
    names.claim("abc1" * 16, "web")
    names.folder("abc1" * 16).rmdir()
    assert names.claim("abd2" * 16, "web") == "web"
    names.release("abc1" * 16, "web")
    assert names.find("web") == "abd2" * 16


def test_one_of_many_gets_the_name(names: ContainerNames) -> None:
    """Eight claims at once: one holder."""
    containers = [f"{number:x}" * 64 for number in range(8)]
    for container in containers:
        names.folder(container).mkdir()

    def claim(container: str) -> bool:
        try:
            names.claim(container, "one")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, containers)) == 1


def test_names_are_chosen_where_none_is_given(names: ContainerNames) -> None:
    """Two words that people can say."""
    first, second = names.claim("abc1" * 16), names.claim("abd2" * 16)
    assert first != second
    assert names.find(first) == "abc1" * 16


@pytest.mark.parametrize("name", ["a", "../x", "a b", "-x", "ä" * 3])
def test_names_that_are_not_well_formed_are_refused(names: ContainerNames, name: str) -> None:
    """A name is also a file's name: nothing of a path gets through."""
    with pytest.raises(NBContainersError, match="invalid container name"):
        names.claim("abc1" * 16, name)


def test_no_name_is_released_from_a_container_that_got_none(names: ContainerNames) -> None:
    """Making a container may fail before it has a name, and that error is the one to be heard."""
    names.claim("abc1" * 16, "web")
    names.release("abc1" * 16, "")
    assert names.find("web") == "abc1" * 16
