"""Inside real Docker containers: as a pod is (tier T3), with nothing allowed (T4, by PRoot), and as Docker's own root."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests import suite
from tests.build.peer import Dockerd

from .docked import BARE, POD, Docked, docked

pytestmark = [pytest.mark.peer("docker"), pytest.mark.skipif(bool(Dockerd.missing()), reason=Dockerd.missing() or "-")]
_NBC = (sys.executable, "-m", "nbcontainers")
_DOCKERS_ROOT = "root has no CAP_SYS_ADMIN or CAP_SYS_PTRACE here"
_WITHOUT_PROOT = ("--env", f"PATH={sys.prefix}/bin")


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docked]:
    folder = tmp_path_factory.mktemp("dockerd")
    with docked(folder) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_a_pod_is_tier_t3(docker: Docked) -> None:
    """Doctor says so and what it means, a reason that several limits share once; a container runs, and what it sees and lacks is as it is
    said.
    """
    report = docker.run(*_NBC, "doctor", options=POD)
    assert report.stdout.count("no group can be made") == 1
    assert report.stdout.startswith("tier T3: no privilege"), report.stdout + report.stderr
    assert "containers see the host's /proc, read-only" in " ".join(report.stdout.split())
    script = (
        "touch /x; chown 33:34 /x; stat -c %u:%g /x; python3 -c 'import os; os.setuid(5); print(os.getuid())'; id -u"
    )
    done = docker.run(*_NBC, "run", "--name", "one", "toolbox", "sh", "-ec", script, options=POD)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["33:34", "5", "0"]
    told = docker.run(*_NBC, "inspect", "one", options=POD).stdout
    assert '"Tier": "T3"' in told
    assert "processes: containers see the host's /proc" in told
    strict = docker.run(*_NBC, "run", "--rm", "--strict", "-m", "64m", "toolbox", "true", options=POD)
    assert strict.returncode == 125
    assert "memory is watched, not enforced by the kernel" in " ".join(strict.stderr.split())
    plain = docker.run(*_NBC, "run", "--rm", "-m", "64m", "toolbox", "echo", "runs", options=POD)
    assert plain.stdout == "runs\n"
    assert "memory is watched" in plain.stderr


def test_the_suite_holds_in_a_pod(docker: Docked) -> None:
    """What holds elsewhere holds there, but for what needs a /proc or a /sys of the container's own."""
    suite.require(docker.run(*suite.command("/tmp/tests", without=suite.NOT_IN_A_POD), options=POD))


def test_what_a_pod_cannot_have_is_told(docker: Docked) -> None:
    """Kernel parameters are refused with the reason; that /sys and no_new_privs are the pod's stands among what is lacking."""
    refused = docker.run(*_NBC, "run", "--rm", "--sysctl", "kernel.msgmax=9000", "toolbox", "true", options=POD)
    assert refused.returncode == 125
    assert "kernel parameters cannot be set on this host, tier T3" in " ".join(refused.stderr.split())
    said = " ".join(docker.run(*_NBC, "doctor", options=POD).stdout.split())
    for words in ("/sys/class/net does not list a container's own interfaces", "no_new_privs: set around this process"):
        assert words in said


def test_a_sandbox_in_a_pod_sees_no_process_of_it(docker: Docked) -> None:
    """It has no /proc, for that would be the pod's, with what its programs were called with; commands can be entered all the same."""
    (docker.work / "pod.sh").write_text(
        "mkdir -m 700 /pod/own; export XDG_RUNTIME_DIR=/pod/own NBCONTAINERS_ROOT=/pod/own/store; nbc='python3 -m nbcontainers'\n"
        "$nbc toolbox >/dev/null; $nbc run --rm toolbox ls -d /proc/1\n"
        "$nbc run -d --name boxed --profile sandbox toolbox sleep 600 >/dev/null\n"
        "$nbc exec boxed sh -c 'ls -A /proc; echo entered'; $nbc rm -f boxed\n"
    )
    done = docker.run("sh", "/pod/pod.sh", options=POD)
    assert done.stdout.split() == ["/proc/1", "entered", "boxed"], done.stdout + done.stderr


def test_with_dockers_own_policy_containers_run_by_proot(docker: Docked) -> None:
    """Tier T4: doctor says what that is and is not; a container runs as it does elsewhere, and lacks what is said."""
    report = docker.run(*_NBC, "doctor", options=BARE)
    said = " ".join(report.stdout.split())
    assert said.startswith(
        "tier T4: no user namespaces: containers run by PRoot and Landlock, which is no security boundary"
    )
    assert "yes PRoot" in said
    assert "security boundary: none" in said
    environment = ("--env", "NBCONTAINERS_ROOT=/pod/viewed")
    script = "id -u; echo x >/x; cat /x; test ! -e /pod && exit 3"
    words = ("run", "--name", "one", "toolbox", "sh", "-c", script)
    done = docker.run(*_NBC, *words, options=(*BARE, *environment))
    assert (done.returncode, done.stdout.split()) == (3, ["0", "x"]), done.stderr
    told = docker.run(*_NBC, "inspect", "one", options=(*BARE, *environment)).stdout
    assert '"Tier": "T4"' in told
    assert "security boundary: none" in told


def test_what_is_promised_without_namespaces_holds_there(docker: Docked) -> None:
    """All that is promised of containers by PRoot, where there is no other way."""
    suite.require(docker.run(*suite.command("/tmp/tests", "tests/engine/test_viewed.py"), options=BARE))


def test_the_suite_holds_there(docker: Docked) -> None:
    """What holds elsewhere holds there, but for what only a namespace, a mount or a capability can give."""
    suite.require(docker.run(*suite.command("/tmp/tests", without=suite.NOT_WITHOUT_NAMESPACES), options=BARE))


def test_without_proot_images_can_be_looked_at(docker: Docked) -> None:
    """Tier T4: what images are and hold works; a container is refused, and what would let it run is said."""
    report = docker.run(*_NBC, "doctor", options=(*BARE, *_WITHOUT_PROOT))
    assert report.stdout.startswith("tier T4: no user namespaces, and no PRoot"), report.stdout + report.stderr
    (docker.work / "Dockerfile").write_text("FROM scratch\nCOPY --chown=5:6 Dockerfile /a\n")
    os.chown(docker.work / "Dockerfile", 1000, 1000)
    environment = ("--env", "NBCONTAINERS_ROOT=/pod/bare")
    build = docker.run(
        *_NBC, "build", "-q", "-t", "made", "-f", "/pod/Dockerfile", "/pod", options=(*BARE, *environment)
    )
    assert build.returncode == 0, build.stderr
    assert "/a" in docker.run(*_NBC, "layers", "made", "--format", "json", options=(*BARE, *environment)).stdout
    options = (*BARE, *environment, *_WITHOUT_PROOT)
    refused = docker.run(*_NBC, "run", "--rm", "--network", "none", "made", "/a", options=options)
    said = " ".join(refused.stderr.split())
    assert "containers cannot run on this host, tier T4: user namespace: " in said
    assert "install proot" in said
    assert "--security-opt seccomp=unconfined" in said


def test_an_administrator_that_may_not_change_its_root_is_told(docker: Docked) -> None:
    """Docker's policy lets CAP_SYS_ADMIN mount, and never pivot_root(2): without that no container is entered."""
    options = ("--cap-add", "SYS_ADMIN", "--env", "NBCONTAINERS_ROOT=/tmp/store", *_WITHOUT_PROOT)
    refused = docker.run(*_NBC, "run", "--rm", "--network", "none", "toolbox", "true", options=options)
    said = " ".join(refused.stderr.split())
    assert "containers cannot run on this host, tier T4: mounts: Operation not permitted" in said
    assert "--security-opt seccomp=unconfined" in said


def test_dockers_root_is_no_root(docker: Docked) -> None:
    """Without CAP_SYS_ADMIN: by Docker's policy nothing can run but by PRoot; without the policy, in a user namespace as in a pod."""
    store = ("--env", "NBCONTAINERS_ROOT=/tmp/store")
    report = docker.run(*_NBC, "doctor", options=store)
    assert report.stdout.startswith("tier T4: "), report.stdout + report.stderr
    words = ("run", "--rm", "--network", "none", "toolbox")
    refused = docker.run(*_NBC, *words, "true", options=(*store, *_WITHOUT_PROOT))
    assert f"{_DOCKERS_ROOT}, and no user namespace of its own" in " ".join(refused.stderr.split())
    script = "touch /x; chown 33:34 /x; stat -c %u:%g /x; python3 -c 'import os; os.setuid(5); print(os.getuid())'"
    done = docker.run(*_NBC, *words, "sh", "-ec", script, options=store)
    assert done.stdout.split() == ["33:34", "5"], done.stderr
    open_ = (*store, "--security-opt", "seccomp=unconfined")
    done = docker.run(*_NBC, "run", "--rm", "toolbox", "sh", "-c", "id -u; cat /proc/self/uid_map", options=open_)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["0", "0"]
    report = docker.run(*_NBC, "doctor", options=open_)
    assert report.stdout.startswith("tier T3: "), report.stdout + report.stderr
    assert f"{_DOCKERS_ROOT}: containers live in a user namespace" in " ".join(report.stdout.split())
    refused = docker.run(*_NBC, "run", "--rm", "--userns", "host", "toolbox", "true", options=open_)
    assert "run as root of the host itself, with all that root may" in " ".join(refused.stderr.split())


def _bombed(docker: Docked, options: tuple[str, ...]) -> tuple[set[str], str]:
    """What the processes of a fork bomb say in a sandbox of 60 processes, when no more can be had; and what its user is told."""
    bomb = "import os\ntry:\n    while True: os.fork()\nexcept OSError as error: print(os.getuid(), error.strerror)"
    words = ("run", "--rm", "--profile", "sandbox", "--pids-limit", "60", "toolbox", "python3", "-c", bomb)
    done = docker.run(*_NBC, *words, options=options)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")), " ".join(done.stderr.split())


def test_dockers_root_that_may_mount_has_no_user_namespaces(docker: Docked) -> None:
    """With CAP_SYS_PTRACE it is root (T0), whose sandboxes are nobody's: parts of /proc are covered, so a user namespace gets none of its
    own. Without it, it could not enter those of other users, and has what root has that may not mount.
    """
    policies = ("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--pids-limit", "3000")
    less = (*policies, "--cap-add", "SYS_ADMIN", "--env", "NBCONTAINERS_ROOT=/tmp/store")
    report = docker.run(*_NBC, "doctor", options=less)
    assert report.stdout.startswith("tier T3: "), report.stdout + report.stderr
    assert "root has no CAP_SYS_PTRACE here: containers live in a user namespace" in " ".join(report.stdout.split())
    options = (*less, "--cap-add", "SYS_PTRACE")
    script = f"{' '.join(_NBC)} run --rm --userns auto toolbox true; {' '.join(_NBC)} doctor"
    done = docker.run("sh", "-c", script, options=options)
    assert done.stdout.startswith("tier T0: "), done.stdout + done.stderr
    for said in (done.stdout, done.stderr):
        assert "no /proc of its own: the kernel gives a user namespace none where" in " ".join(said.split())
    said, told = _bombed(docker, options)
    assert said == {"65534 Resource temporarily unavailable", ""}
    assert "user namespace: none, so its ids are the host's" in told


def test_a_fork_bomb_of_dockers_root_is_held(docker: Docked) -> None:
    """The kernel exempts it from RLIMIT_NPROC: the supervisor of identities counts, for code that is not trusted, too. The pod goes on."""
    options = ("--env", "NBCONTAINERS_ROOT=/tmp/store", "--security-opt", "seccomp=unconfined", "--pids-limit", "3000")
    said, told = _bombed(docker, options)
    assert said == {"0 Resource temporarily unavailable", ""}
    assert "processes are limited by the supervisor" in told
    assert "RLIMIT_NPROC" not in told
    threads = "import threading, time; [threading.Thread(target=time.sleep, args=(1,)).start() for _ in range(70)]"
    done = docker.run(*_NBC, "run", "--rm", "--pids-limit", "60", "toolbox", "python3", "-c", threads, options=options)
    assert "can't start new thread" in done.stderr
    one_by_one = "i=0; while [ $i -lt 300 ]; do /bin/true || exit; i=$((i+1)); done; echo all"
    done = docker.run(*_NBC, "run", "--rm", "--pids-limit", "2", "toolbox", "sh", "-c", one_by_one, options=options)
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr
