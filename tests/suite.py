"""The tests that every tier passes; CI runs all as root (T0) and as an ordinary user with one id (T2), and these on the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from nbcontainers.runtime.host import TIER

ROOT = Path(__file__).parents[1]
FILES = (
    *(
        f"tests/runtime/{name}.py"
        for name in (
            "identity/test_supervisor",
            "test_death",
            "test_exec",
            "test_init",
            "test_life",
            "test_log",
            "test_overruns",
            "test_process",
            "test_rootfs",
            "test_streams",
            "test_user",
        )
    ),
    *(
        f"tests/engine/{name}.py"
        for name in (
            "test_attacks",
            "test_carriage",
            "test_derived",
            "test_engine",
            "test_faults",
            "test_isolation",
            "test_killed_builds",
            "test_killed_runs",
            "test_limits",
            "test_mounts",
            "test_networking",
            "test_policies",
            "test_publish",
            "test_resources",
            "test_sandbox",
            "test_unkept",
            "test_volumes",
            "test_watch",
        )
    ),
)

NOT_IN_A_POD = (
    # They look at process 1, at all that there are, or at what init sets there.
    "tests/runtime/identity/test_supervisor.py::test_it_is_out_of_reach",
    "tests/runtime/test_init.py::test_no_descriptor_leaks",
    "tests/runtime/test_init.py::test_the_network_is_tuned_as_docker_does",
    "tests/runtime/test_exec.py::test_it_is_in_every_namespace_of_the_container",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-other_processes]",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-secrets_of_the_kernel]",
    "tests/engine/test_isolation.py::test_processes_of_another_container_are_seen",
    # They want /proc or /sys to be as in Docker.
    "tests/runtime/test_rootfs.py::test_the_mounts_are_dockers",
    "tests/engine/test_attacks.py::test_the_attacks_are_real",
    "tests/engine/test_isolation.py::test_kernel_parameters_are_the_containers_own",
    "tests/engine/test_networking.py::test_addresses_names_and_mac_can_be_fixed",
    "tests/engine/test_networking.py::test_a_read_only_sys_is_that_of_one_container",
    # A sandbox has no /proc there.
    "tests/engine/test_sandbox.py::test_it_has_nothing_to_give",
    "tests/engine/test_sandbox.py::test_its_ids_are_nobodys",
    "tests/engine/test_attacks.py::test_no_working_directory_lies_outside[sandbox]",
    "tests/engine/test_attacks.py::test_nothing_is_mounted_on_files_of_proc[sandbox-",
    "tests/engine/test_attacks.py::test_devices_and_terminals_are_the_kernels[sandbox-/dev-/dev/null]",
    # The pod's own policy and no_new_privs stand in /proc/PID/status, too.
    "tests/runtime/test_exec.py::test_it_holds_what_the_container_holds",
    "tests/runtime/test_init.py::test_the_policy_of_system_calls_is_on",
    "tests/engine/test_isolation.py::test_security_options_are_read",
    # Docker's networks have no IPv6, and let everybody listen below 1024.
    "tests/engine/test_networking.py::test_two_servers_on_one_port_are_published_on_two",
    "tests/engine/test_networking.py::test_a_port_leads_to_the_address_at_which_a_program_listens[",
    "tests/engine/test_networking.py::test_an_ordinary_user_hears_that_there_is_no_way_out",
)
"""What cannot hold in a pod, which has this host's /proc and /sys (tier T3)."""


def command(folder: str, *files: str, without: Iterable[str] = ()) -> list[str]:
    """What runs them, or these files instead, in a folder of its own; it writes nothing beside them."""
    # Both plugins want to write beside the tests, the second removes what an earlier run of browser tests left there.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:playwright", "--basetemp", folder]
    options += [word for name in without for word in ("--deselect", name)]
    return [sys.executable, "-m", "pytest", *options, *(files or FILES)]


def run(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Run them here, behind the words of a program that changes who runs them, at the best tier that is found then."""
    known = {name: value for name, value in os.environ.items() if name not in {TIER, "NBCONTAINERS_ROOT"}}
    words = [*before, *command(str(folder))]
    return subprocess.run(words, env=known, cwd=ROOT, capture_output=True, text=True, check=False)


def require(done: subprocess.CompletedProcess[str]) -> None:
    """They have run, and all hold."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert " passed" in done.stdout
