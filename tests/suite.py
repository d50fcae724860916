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


NOT_WITHOUT_NAMESPACES = (
    # There is no process 1: what a program does not handle ends it, who is killed takes others along, and others are seen.
    "tests/runtime/test_death.py::test_a_start_whose_first_process_is_killed_says_so",
    "tests/runtime/test_exec.py::test_a_command_that_is_killed_before_it_runs_harms_no_other",
    "tests/runtime/test_init.py::test_it_is_pid_1_and_root",
    "tests/runtime/test_init.py::test_no_descriptor_leaks",
    "tests/runtime/test_life.py::test_it_is_started_again",
    "tests/runtime/test_life.py::test_a_person_ends_it_for_good",
    "tests/runtime/test_process.py::TestDetached::test_it_outlives_its_engine",
    "tests/runtime/test_process.py::TestSignals::test_stop_insists",
    "tests/engine/test_engine.py::test_a_run_says_nothing_of_how_the_last_one_ended",
    "tests/engine/test_engine.py::test_only_what_somebody_stopped_is_said_to_be",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-other_processes]",
    "tests/engine/test_attacks.py::test_the_engines_program_cannot_be_written_to[docker]",
    # Names, networks, System V segments and kernel parameters are this host's.
    "tests/runtime/test_death.py::test_a_start_whose_networks_end_says_so",
    "tests/runtime/test_exec.py::test_it_is_in_every_namespace_of_the_container",
    "tests/runtime/test_init.py::test_it_has_names_of_its_own",
    "tests/runtime/test_init.py::test_the_network_is_tuned_as_docker_does",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-sockets_without_a_path]",
    "tests/engine/test_isolation.py::test_ipc_is_private_unless_it_is_asked_for",
    "tests/engine/test_isolation.py::test_ipc_of_another_container_is_shared_if_it_lets",
    "tests/engine/test_isolation.py::test_the_name_of_the_host_is_shared",
    "tests/engine/test_isolation.py::test_processes_of_another_container_are_seen",
    "tests/engine/test_isolation.py::test_one_user_namespace_is_lived_in_without_privilege",
    "tests/engine/test_isolation.py::test_kernel_parameters_are_the_containers_own",
    "tests/engine/test_isolation.py::test_a_program_is_told_the_name_of_its_host",
    "tests/engine/test_isolation.py::test_groups_and_a_domain",
    "tests/engine/test_isolation.py::test_the_cgroup_namespace_is_private_unless_it_is_asked_for",
    "tests/engine/test_resources.py::test_usage_has_network_and_pressure",
    "tests/engine/test_unkept.py::test_groups_that_are_not_there_are_told",
    "tests/engine/test_unkept.py::test_a_network_without_a_way_out_is_told_to_who_asked_for_one",
    # PRoot answers for users, and is asked before a policy; nobody has a capability, or more than one group.
    "tests/runtime/test_exec.py::test_it_holds_what_the_container_holds",
    "tests/runtime/test_init.py::test_it_has_the_capabilities_that_were_asked_for",
    "tests/runtime/test_init.py::test_the_policy_of_system_calls_is_on",
    "tests/runtime/test_init.py::test_a_user_is_looked_up_inside",
    "tests/runtime/test_init.py::test_a_working_directory_that_is_made_is_roots_or_the_users",
    "tests/runtime/test_process.py::test_a_policy_that_knows_little_lets_a_command_begin",
    "tests/runtime/test_rootfs.py::test_a_device_of_ones_own_cannot_be_opened",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-refused_calls]",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-disks_and_memory]",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-capabilities]",
    "tests/engine/test_attacks.py::test_the_attacks_are_real",
    "tests/engine/test_isolation.py::test_a_working_directory_is_made",
    "tests/engine/test_isolation.py::test_a_profile_of_ones_own_filters",
    "tests/engine/test_isolation.py::test_security_options_are_read",
    "tests/engine/test_isolation.py::test_a_socket_tells_who_is_at_its_other_end",
    "tests/engine/test_isolation.py::test_a_socket_is_bound_by_the_name_that_it_is_given",
    "tests/engine/test_isolation.py::test_identities_can_be_left_alone",
    "tests/engine/test_isolation.py::test_a_privileged_container_has_what_this_process_has",
    "tests/engine/test_isolation.py::test_whoever_is_not_named_has_the_groups_of_root",
    "tests/engine/test_isolation.py::test_inspect_shows_what_was_asked_for",
    "tests/engine/test_isolation.py::test_capabilities_are_given_and_taken",
    "tests/engine/test_unkept.py::test_the_same_capabilities_count_outside_of_user_namespaces",
    "tests/engine/test_volumes.py::test_a_folder_in_memory_has_the_owner_that_there_is",
    # Nothing is mounted: no mask, no layer, no folder in memory with a size; and Landlock's refusal has another word.
    "tests/runtime/test_rootfs.py::test_devices_are_there_and_are_devices",
    "tests/runtime/test_rootfs.py::test_masked_paths_show_nothing",
    "tests/runtime/test_rootfs.py::test_each_mask_is_read_only",
    "tests/runtime/test_rootfs.py::test_many_layers_fit",
    "tests/runtime/test_rootfs.py::test_a_read_only_root_is_read_only",
    "tests/runtime/test_rootfs.py::TestVolumes::test_a_folder_can_be_read_only",
    "tests/runtime/test_rootfs.py::TestVolumes::test_a_mount_takes_the_place_of_a_default",
    "tests/runtime/test_rootfs.py::TestLinksDoNotLeadOut::test_a_volume_on_a_dangling_link_makes_its_target_inside",
    "tests/engine/test_attacks.py::test_devices_and_terminals_are_the_kernels[docker-/dev/null-",
    "tests/runtime/test_rootfs.py::TestLinksDoNotLeadOut::test_masked_paths_behind_links_hide_nothing_of_the_host",
    "tests/runtime/test_rootfs.py::TestLinksDoNotLeadOut::test_a_link_that_is_swapped_meanwhile_keeps_no_mask_off",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-secrets_of_the_kernel]",
    "tests/engine/test_attacks.py::test_an_intruder_gains_nothing[docker-files_that_are_not_the_containers]",
    "tests/engine/test_isolation.py::test_shared_memory_has_a_size",
    "tests/engine/test_isolation.py::test_what_a_container_has_of_its_own_it_keeps",
    "tests/engine/test_resources.py::test_rlimits_scores_and_memory_to_share",
    "tests/engine/test_volumes.py::test_volumes_of_another_container_are_shared",
    "tests/engine/test_volumes.py::test_a_folder_in_memory_is_as_it_was_asked_for",
    # PRoot knows neither two names that change places nor paths that are longer than a path can be.
    "tests/engine/test_attacks.py::test_a_copy_stays_inside_while_links_are_swapped",
    "tests/engine/test_attacks.py::test_a_mount_stays_inside_while_links_are_swapped",
    "tests/engine/test_attacks.py::test_folders_in_each_other_stop_nobody",
    # Limits are watched, and what no process has mapped is not seen.
    "tests/runtime/test_exec.py::test_a_container_that_may_have_no_further_process_says_so",
    "tests/runtime/test_init.py::test_limits_on_processes_hold",
    "tests/runtime/test_process.py::TestState::test_limits_that_nobody_enforces_are_named",
    "tests/engine/test_watch.py::test_memory_that_no_process_has_mapped_counts",
    "tests/engine/test_watch.py::test_usage_tells_what_is_held",
    # What is refused there is refused before anybody asks whether it is written as it should be.
    "tests/engine/test_isolation.py::test_what_needs_privilege_is_refused_with_the_reason[words0-",
    "tests/engine/test_isolation.py::test_what_needs_privilege_is_refused_with_the_reason[words2-",
    "tests/engine/test_isolation.py::test_modes_that_are_none_are_refused[words4]",
    "tests/engine/test_isolation.py::test_device_rules_that_are_none_are_refused",
    # There is no sandbox.
    *(
        f"tests/engine/test_attacks.py::{name}[sandbox"
        for name in (
            "test_an_intruder_gains_nothing",
            "test_the_engines_program_cannot_be_written_to",
            "test_no_working_directory_lies_outside",
            "test_nothing_is_mounted_on_files_of_proc",
            "test_files_of_proc_that_lxcfs_covers_can_be",
            "test_devices_and_terminals_are_the_kernels",
            "test_folders_of_an_image_that_lead_elsewhere_are_not_followed",
            "test_a_signal_to_all_ends_the_container_only",
            "test_nobody_else_can_speak_to_the_engine",
        )
    ),
    "tests/engine/test_sandbox.py",
)
"""What cannot hold where containers are shown their files by PRoot (tier T4), which docs/tiers.md tells."""


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
