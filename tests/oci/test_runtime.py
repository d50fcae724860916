from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcontainers.errors import IntegrityError
from nbcontainers.oci.runtime import IdMapping, Mount, Namespace, Process, Resources, Rlimit, RuntimeSpec

text = st.text(max_size=8)
words = st.lists(text, max_size=3).map(tuple)
numbers = st.integers(0, 1 << 31)
optional = st.none() | numbers
mappings = st.lists(st.builds(IdMapping, container=numbers, host=numbers, size=numbers), max_size=2).map(tuple)
processes = st.builds(
    Process,
    args=words,
    env=words,
    cwd=text,
    uid=numbers,
    gid=numbers,
    groups=st.lists(numbers, max_size=3).map(tuple),
    umask=optional,
    terminal=st.booleans(),
    capabilities=st.frozensets(st.sampled_from(["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"])),
    no_new_privileges=st.booleans(),
    rlimits=st.lists(st.builds(Rlimit, type=text, soft=numbers, hard=numbers), max_size=2).map(tuple),
    oom_score_adj=st.none() | st.integers(-1000, 1000),
)
resources = st.builds(
    Resources,
    memory=optional,
    memory_swap=optional,
    memory_reservation=optional,
    cpu_shares=optional,
    cpu_quota=optional,
    cpu_period=optional,
    cpuset_cpus=text,
    cpuset_mems=text,
    pids=optional,
)
namespaces = st.lists(
    st.builds(Namespace, type=st.sampled_from(["mount", "pid", "network", "user"]), path=text), max_size=3
).map(tuple)
specs = st.builds(
    RuntimeSpec,
    process=processes,
    hostname=text,
    readonly_root=st.booleans(),
    mounts=st.lists(st.builds(Mount, destination=text, type=text, source=text, options=words), max_size=2).map(tuple),
    namespaces=namespaces,
    uid_mappings=mappings,
    gid_mappings=mappings,
    resources=resources,
    cgroups_path=text,
    seccomp=st.none() | st.just({"defaultAction": "SCMP_ACT_ALLOW"}),
    masked_paths=words,
    readonly_paths=words,
    sysctl=st.dictionaries(text, text, max_size=2),
    annotations=st.dictionaries(text, text, max_size=2),
)


@given(specs)
def test_a_spec_survives_its_config_json(spec: RuntimeSpec) -> None:
    """What is written as config.json is read as the same container."""
    assert RuntimeSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_time_namespace_is_not_written() -> None:
    """runc 1.1 refuses a time namespace, so config.json has none; the runtime adds it at launch."""
    spec = RuntimeSpec(process=Process(args=("sh",)), namespaces=(Namespace(type="time"), Namespace(type="pid")))
    assert spec.to_json()["linux"]["namespaces"] == [{"type": "pid"}]
    assert spec.namespace("time") == Namespace(type="time")
    assert spec.without_namespace("time").namespaces == (Namespace(type="pid"),)
    assert spec.namespace("network") is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"process": {"args": ["sh"]}},
        {"process": {"cwd": "/"}},
        {"process": []},
        {"process": {"args": ["sh"], "cwd": "/", "rlimits": [{}]}},
        {"process": {"args": ["sh"], "cwd": "/"}, "mounts": [{}]},
        {"process": {"args": ["sh"], "cwd": "/"}, "linux": {"uidMappings": [{"size": 1}]}},
        {"process": {"args": ["sh"], "cwd": "/"}, "linux": [1]},
    ],
)
def test_what_is_no_spec_is_refused(document: dict[str, Any]) -> None:
    """A key that is missing or of a wrong type is an IntegrityError with a hint."""
    with pytest.raises(IntegrityError) as caught:
        RuntimeSpec.from_json(document)
    assert caught.value.hint


def test_processors_come_from_quota_and_period() -> None:
    """A quota without a period is of the kernel's 100 ms; no quota, or one of -1, is no limit."""
    assert Resources(cpu_quota=150_000).cpus == 1.5
    assert Resources(cpu_quota=50_000, cpu_period=25_000).cpus == 2
    assert Resources().cpus is None
    assert Resources(cpu_quota=-1).cpus is None


@pytest.mark.peer("runc")
@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_runc_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    """``runc spec`` is read without loss of what we know, and written back it still says the same."""
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    spec = RuntimeSpec.from_json(theirs)
    assert spec.process.args == ("sh",)
    assert spec.hostname == theirs["hostname"]
    assert len(spec.mounts) == len(theirs["mounts"])
    ours = spec.to_json()
    for key in ("process", "root", "hostname"):
        expected = theirs[key]
        if key == "process":
            expected["capabilities"] = {kind: sorted(names) for kind, names in expected["capabilities"].items()}
            expected["capabilities"].pop("inheritable", None)
            expected["capabilities"].pop("ambient", None)
        assert ours[key] == expected
    assert ours["linux"]["maskedPaths"] == theirs["linux"]["maskedPaths"]
    assert RuntimeSpec.from_json(ours) == spec
    assert replace(spec, hostname="other").to_json()["hostname"] == "other"
