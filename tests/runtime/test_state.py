"""state.json: written whole, read with care, repaired where it cannot be true."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.errors import IntegrityError, NotFound
from nbcontainers.results import ContainerState
from nbcontainers.runtime import processes, record, state

STATE = ContainerState(
    id="c1",
    name="ü",
    image="i",
    image_id="sha256:0",
    command=("sh", "-c", 'echo "\udcff"'),
    status="created",
    created=1.5,
    labels=(("a", "b"),),
    not_enforced=("x",),
    lacks=("y",),
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_json_is_json(value: object) -> None:
    """What the shim writes without the json module is what that module reads."""
    assert json.loads(record.to_json(value)) == value


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Every field, whatever bytes its text stands for; what the shim noted stays."""
    state.save_state(tmp_path, STATE)
    assert state.load_state(tmp_path) == STATE
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "runtime": {"shim": 7}}))
    state.save_state(tmp_path, replace(STATE, name="other"))
    assert state.load_extra(tmp_path) == {"shim": 7}
    assert state.load_state(tmp_path).name == "other"
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_state_from_before_streams_were_kept_has_all(tmp_path: Path) -> None:
    """Its first client has input and output, as it had when it was made."""
    state.save_state(tmp_path, STATE)
    path = tmp_path / "state.json"
    older = json.loads(path.read_text())
    del older["attached"]
    path.write_text(json.dumps(older))
    assert state.load_state(tmp_path).attached == ("stdin", "stdout", "stderr")


@pytest.mark.parametrize("auto_remove", [False, True])
def test_a_reader_never_sees_half_a_state(tmp_path: Path, auto_remove: bool) -> None:
    """While one writes again and again, others read whole states: also where the new text is written over the old one."""
    begin = replace(STATE, auto_remove=auto_remove, exit_code=7, name="7" * 500)
    state.save_state(tmp_path, begin)
    file = os.stat(tmp_path / "state.json").st_ino
    done = threading.Event()

    def write() -> None:
        try:
            for number in range(1000):
                state.save_state(tmp_path, replace(begin, exit_code=number % 13, name=str(number % 13) * 500))
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        found = state.load_state(tmp_path)
        assert found.name == str(found.exit_code) * 500
    writer.join()
    assert os.stat(tmp_path / "state.json").st_ino == file or not auto_remove
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_state_of_two_times_is_none(tmp_path: Path) -> None:
    """The begin of one text and the end of another may well be JSON together."""
    state.save_state(tmp_path, STATE)
    path = tmp_path / "state.json"
    text = json.loads(path.read_text())
    path.write_text(json.dumps({**text, "begin": text["begin"] + 1}))
    with pytest.raises(IntegrityError, match="of another time"):
        state.load_state(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"id": 1}', '"x"', '{"runtime": 1}'])
def test_a_torn_state_is_told(tmp_path: Path, content: str) -> None:
    """Zero-length and corrupt files are an IntegrityError, one that is not there is NotFound."""
    with pytest.raises(NotFound):
        state.load_state(tmp_path)
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(IntegrityError):
        state.load_state(tmp_path)
    state.save_state(tmp_path, STATE)
    assert state.load_state(tmp_path) == STATE


def test_a_running_state_is_believed_while_its_shim_lives(tmp_path: Path) -> None:
    """The shim will write what comes. Without it the state is repaired, on disk too."""
    me = os.getpid()
    running = {**state.to_json(replace(STATE, status="running", pid=2**22 - 1)), "runtime": {"shim": me}}
    path = tmp_path / "state.json"
    running["runtime"] = {"shim": me, "shim_start": processes.start_time(me), "start": 1}
    path.write_text(json.dumps(running))
    assert state.load_state(tmp_path).status == "running"
    running["runtime"]["shim_start"] += 1  # somebody else has the pid now
    path.write_text(json.dumps(running))
    found = state.load_state(tmp_path)
    assert (found.status, found.exit_code, found.pid) == ("exited", 137, 0)
    assert found.finished > 0
    assert json.loads(path.read_text())["status"] == "exited"


def test_a_container_that_is_being_created_is_left_alone(tmp_path: Path) -> None:
    """No shim has spoken yet: an engine is at it."""
    state.save_state(tmp_path, replace(STATE, status="creating"))
    assert state.load_state(tmp_path).status == "creating"


def test_times_tell_processes_apart() -> None:
    """A process has its time as long as it is there; who is not there has none."""
    assert processes.start_time(os.getpid()) == processes.start_time(os.getpid()) > 0
    assert processes.start_time(2**22 - 1) == 0
