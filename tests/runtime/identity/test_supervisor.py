"""A container with a single id, in which there are many: busybox's own programs see what they would see as root."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

from nbcontainers.engine import ps
from nbcontainers.linux import recorded
from nbcontainers.runtime import launch, pausing
from nbcontainers.runtime import state as states
from nbcontainers.runtime.host import Host
from nbcontainers.runtime.identity import credentials, policy
from nbcontainers.runtime.running import Running
from tests.runtime.conftest import Box
from tests.waiting import PATIENCE_S, until


def upper(box: Box) -> Path:
    """Where the last container's changes are."""
    return box.started[-1].folder / "upper"


def record(path: Path) -> str:
    return os.getxattr(path, recorded.NAME).decode()


def shim(folder: Path) -> int:
    return int(states.load_extra(folder)["shim"])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_chown_is_seen_by_whoever_looks(box: Box) -> None:
    """By path, by descriptor, through links and by names; and it stands in an attribute of the file."""
    out = box.shell("""
        cd /tmp; echo x > f
        chown 5:6 f; stat -c %u:%g f
        chown ann f; stat -c %u:%g f
        chgrp audio f; stat -c %U:%G f
        ln f hard; mv f moved; stat -c %u:%g hard moved
        ln -s moved link; chown 7:8 link; stat -Lc %u:%g link; stat -c %u:%g link
        mkdir d; chown 9:9 d; ls -lnd d | tr -s ' ' | cut -d' ' -f1-4
        exec 5< moved; stat -Lc %u:%g /proc/self/fd/5; chown 7:9 /dev/fd/5; stat -c %u:%g hard
    """)
    assert out.splitlines() == [
        *("5:6", "1000:6", "ann:audio", "1000:29", "1000:29", "7:8", "0:0"),
        *("drwxr-xr-x 2 9 9", "7:8", "7:9"),
    ]
    assert record(upper(box) / "tmp/hard") == "7:9:100644"


def test_chown_back_to_root_leaves_no_record(box: Box) -> None:
    """What the kernel can hold it holds."""
    out = box.shell("cd /tmp; touch f; chown 5:6 f; chown 0 f; stat -c %u:%g f; chown :0 f; stat -c %u:%g f")
    assert out.split() == ["0:6", "0:0"]
    assert recorded.NAME not in os.listxattr(upper(box) / "tmp/f")


def test_links_and_pipes_have_owners_too(box: Box) -> None:
    """They cannot have attributes: they stand in a ledger beside the tree, and follow renames and hard links."""
    out = box.shell("""
        cd /tmp; ln -s nowhere l; mkfifo p; chown -h 5:6 l; chown 7:8 p
        mv l m; ln p q; stat -c %u:%g m p q
        rm m; ln -s nowhere m; stat -c %u:%g m
        chown 0:0 p; stat -c %u:%g q
    """)
    assert out.split() == ["5:6", "7:8", "7:8", "0:0", "0:0"]
    assert (box.started[-1].folder / recorded.LEDGER).read_bytes().count(b"\n") == 3


def test_modes_keep_their_special_bits(box: Box) -> None:
    """chown takes set-id bits away, chmod gives them, and on the inode they never stand beside a recorded owner."""
    out = box.shell("""
        cd /tmp; touch f; chmod 6755 f; chown 5:6 f; stat -c %a f
        for mode in 2755 u+s 640; do chmod $mode f; stat -c %a f; done
        mkdir d; chown 5:6 d; chmod 2775 d; stat -c %a d; chmod +t d; stat -c %a d
        chmod 4711 f
    """)
    assert out.split() == ["755", "2755", "6755", "640", "2775", "3775"]
    made = upper(box) / "tmp/f"
    assert stat.S_IMODE(made.stat().st_mode) == 0o711
    assert record(made) == "5:6:104711"


def test_until_something_is_recorded_the_kernel_answers(box: Box) -> None:
    """Who records leaves a mark beside the tree, be it the supervisor or somebody outside who copies files in; then all is looked up."""
    assert box.shell("touch /tmp/f; stat -c %u:%g /tmp/f").strip() == "0:0"
    mark = box.started[-1].folder / recorded.MARK
    assert not mark.exists()
    assert box.shell("touch /tmp/f; stat -c %u:%g /tmp/f; chown 5:6 /tmp/f; stat -c %u:%g /tmp/f").split() == [
        "0:0",
        "5:6",
    ]
    assert (box.started[-1].folder / recorded.MARK).exists()
    assert box.shell("touch /tmp/f; stat -c %u:%g /tmp/f", user="7:8").strip() == "7:8"

    running = box.start("sh", "-c", "touch /tmp/f; until [ $(stat -c %u /tmp/f) = 7 ]; do sleep 0.05; done")
    made = upper(box) / "tmp/f"
    until(made.exists)
    os.setxattr(made, recorded.NAME, recorded.text((7, 7, made.stat().st_mode, 0, 0)))
    beside = os.open(running.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        recorded.mark(beside)
    finally:
        os.close(beside)
    assert running.wait(PATIENCE_S) == 0


def test_a_new_tree_on_plain_layers_has_no_records(tmp_path: Path) -> None:
    """It is known of layers that say so, under an upper directory in which nothing was made yet."""
    upper, below = tmp_path / "snapshot/upper", tmp_path / "layer/fs"
    upper.mkdir(parents=True)
    below.mkdir(parents=True)
    trees = [str(upper), str(below)]
    assert not recorded.has_none(trees)
    (tmp_path / "layer" / recorded.PLAIN).touch()
    assert recorded.has_none(trees)
    (tmp_path / "snapshot" / recorded.MARK).touch()
    assert not recorded.has_none(trees)
    (tmp_path / "snapshot" / recorded.MARK).unlink()
    (upper / "file").touch()
    assert not recorded.has_none(trees)


def test_devices_can_be_made_and_seen(box: Box) -> None:
    """A node is an empty file with a record; it shows its numbers and its mode, but is no device."""
    out = box.shell("""
        cd /tmp; mknod -m 640 disk b 8 17; mknod null c 1 3; mknod big c 259 70000; chown 0:6 disk
        stat -c '%F %t:%T %a %u:%g' disk null big
        [ -b disk ] && [ -c null ] && [ ! -f null ] && ls -ln disk | tr -s ' ' | cut -d' ' -f1-6
    """)
    assert out.splitlines() == [
        "block special file 8:11 640 0:6",
        "character special file 1:3 644 0:0",
        "character special file 103:11170 644 0:0",
        "brw-r----- 1 0 6 8, 17",
    ]
    assert record(upper(box) / "tmp/disk") == "0:6:60640:8:17"


def test_a_process_becomes_another(box: Box) -> None:
    """su, and what it starts: ids, names and groups; what they make is theirs, and they may give it to nobody else."""
    script = """
        id; cd /tmp; mkdir d; touch d/f; ln -s f d/l; mkfifo d/p; echo x > d/g; stat -c %u:%g d d/f d/l d/p d/g
        chown 5 d/f || echo refused; chgrp 29 d/f && stat -c %g d/f; chgrp 5 d/f || echo refused; sh -c "id -u"
    """
    out = box.shell(f"su ann -c '{script}' 2>/dev/null; id -u")
    assert out.splitlines() == [
        "uid=1000(ann) gid=100(users) groups=29(audio),100(users)",
        *["1000:100"] * 5,
        *("refused", "29", "refused", "1000", "0"),
    ]
    assert record(upper(box) / "tmp/d/g") == "1000:100:100644"


def test_folders_hand_on_their_group(box: Box) -> None:
    """What is made in a set-group-id folder has its group, whoever makes it."""
    out = box.shell("""
        cd /tmp; mkdir d; chown 0:29 d; chmod 2777 d; touch d/f; mkdir d/e; stat -c '%u:%g %a' d/f d/e
        su ann -c 'touch d/e/g'; stat -c %u:%g d/e/g
    """)
    assert out.splitlines() == ["0:29 644", "0:29 2755", "1000:29"]


def test_sockets_are_theirs_who_bind_them(box: Box) -> None:
    """A socket with a name is its maker's, with the group of its folder: who made it may give it away as any file."""
    out = box.shell("""
        cd /tmp; mkdir d; chown 0:29 d; chmod 2777 d; ln -s /tmp/d/log /dev/log
        syslogd -O /tmp/a; until stat -c %a d/log 2>/dev/null | grep -q 666; do sleep 0.05; done
        stat -c '%u:%g %a' d/log; logger said
        until grep -q said a; do sleep 0.05; done; chown 5 d/log; stat -c %u:%g d/log; rm d/log
        su ann -c 'syslogd -O /tmp/b; until [ -S d/log ]; do sleep 0.05; done; chgrp 100 d/log; stat -c %u:%g d/log'
    """)
    assert out.splitlines() == ["0:29 666", "5:29", "1000:100"]


def test_a_container_runs_as_any_user(box: Box) -> None:
    """-u with names, numbers and groups; its working directory is made for it, and is root's."""
    assert box.shell("id", user="ann") == "uid=1000(ann) gid=100(users) groups=29(audio),100(users)\n"
    script = "id -u; id -g; pwd; stat -c %u:%g .; touch /tmp/f; stat -c %u:%g /tmp/f"
    out = box.shell(script, user="4242:777", cwd="/srv/app")
    assert out.split() == ["4242", "777", "/srv/app", "0:0", "4242:777"]


def test_identities_are_handed_on_by_the_kernel(box: Box) -> None:
    """A child whose parent is gone is who it was at the fork, however many processes come and go meanwhile."""
    out = box.shell("""
        su ann -c '(sleep 0.3; id -u > /tmp/orphan; echo > /tmp/end) & exit 0'
        n=0; while [ $n -lt 200 ]; do n=$((n+1)); /bin/true; done
        while [ ! -e /tmp/end ]; do sleep 0.05; done
        cat /tmp/orphan; stat -c %u /tmp/orphan; id -u
    """)
    assert out.split() == ["1000", "1000", "0"]


def test_many_at_once_are_who_they_are(box: Box) -> None:
    """One supervisor answers everybody, in turn."""
    ask = "for j in 1 2 3 4 5; do id -u; done"
    out = box.shell(f"for i in $(seq 8); do su ann -c '{ask}' & done; {ask}; wait")
    assert sorted(out.split()) == ["0"] * 5 + ["1000"] * 40


def test_archives_and_copies_keep_owners(box: Box) -> None:
    """tar and cp -a restore what they see (busybox's tar gives links no owner)."""
    out = box.shell("""
        mkdir /tmp/a /tmp/b; cd /tmp/a; touch f g; ln -s f l
        chown 5:6 f; chown -h 7:8 l; chown 0:42 g; chmod 2755 g
        tar cf /tmp/t.tar .; tar xf /tmp/t.tar -C /tmp/b; cp -a /tmp/a /tmp/c
        for d in b c; do stat -c '%u:%g %a' /tmp/$d/f /tmp/$d/g; done; stat -c %u:%g /tmp/c/l
    """)
    assert out.splitlines() == ["5:6 644", "0:42 2755"] * 2 + ["7:8"]


def test_other_roots_have_other_paths(box: Box) -> None:
    """After chroot(2) names mean what they mean there."""
    inside = """
        cd /etc
        b stat -c %u /etc/here here; b stat -Lc %u /link; b chown 3 /etc/here; b stat -c %u here
    """.replace("b ", "/bin/busybox ")
    out = box.shell(f"""
        mkdir -p /tmp/r/bin /tmp/r/etc; cp /bin/busybox /tmp/r/bin; ln -s busybox /tmp/r/bin/sh; touch /etc/here /tmp/r/etc/here
        chown 1:1 /etc/here; chown 2:2 /tmp/r/etc/here; ln -s /etc/here /tmp/r/link
        chroot /tmp/r /bin/sh -c '{inside}'
        stat -c %u /etc/here /tmp/r/etc/here
    """)
    assert out.split() == ["2", "2", "2", "3", "1", "3"]


def test_what_is_mounted_has_owners_too(box: Box) -> None:
    """Also on file systems that keep no attributes of users: there a record lives as long as the container."""
    out = box.shell(
        "touch /dev/shm/f; chown 5:6 /dev/shm/f; stat -c %u:%g /dev/shm/f; mkfifo /dev/shm/p; chown 7 /dev/shm/p; stat -c %u /dev/shm/p"
    )
    assert out.split() == ["5:6", "7"]
    assert not (box.started[-1].folder / recorded.LEDGER).exists()


def test_without_it_nothing_is_pretended(box: Box, host: Host) -> None:
    """Without the supervisor there is no filter for it either: calls fail as the kernel has them fail."""
    folder, rootfs = box.prepare()
    state = box.state(folder, ["true"])
    spec = dataclasses.replace(box.spec("true"), annotations={policy.IDENTITY: "off"})
    plan = launch.compile(spec, rootfs, folder=folder, state=state, host=host, socket="")
    assert plan["identity"] is None


def test_a_supervisor_that_is_killed_takes_the_container_along(box: Box) -> None:
    """Calls that nobody answers would fail one by one; so it ends, and says why."""
    running = box.start("sh", "-c", "while true; do id -u >/dev/null; done")
    (found,) = until(
        lambda: [
            pid for pid in children(shim(running.folder)) if Path(f"/proc/{pid}/comm").read_text() == "nbc-identity\n"
        ]
    )
    os.kill(found, 9)
    assert running.wait(PATIENCE_S) == 137
    assert "identities" in running.state.error


def test_nothing_is_left_of_it(box: Box) -> None:
    """The supervisor ends with its container, however that ends."""
    running = box.start("sleep", "600")
    # What lent its memory to the first process stays for a moment.
    found = until(lambda: len(now := children(shim(running.folder))) == 2 and now)
    running.signal(9)
    running.wait(PATIENCE_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))


def test_it_is_out_of_reach(box: Box) -> None:
    """Nobody inside sees it or can signal it: it is in another pid namespace."""
    assert box.shell("cat /proc/[0-9]*/comm; kill -9 -1 2>/dev/null || echo here; id -u") == "sh\nhere\n0\n"


def test_processes_belong_to_who_they_are(box: Box) -> None:
    """To ps and to whoever looks at /proc/PID, by path and by descriptor; the files there that are the kernel's stay its own."""
    out = box.shell("""
        mkdir /tmp/own; chown 1000 /tmp/own
        su ann -c 'sleep 60' > /dev/null & until ps -o user,comm | grep -q 'ann *sleep'; do sleep 0.05; done
        ann=$(ps -o pid,user,comm | awk '$2 == "ann" && $3 == "sleep" { print $1 }')
        stat -c %u:%g /proc/$ann /proc/$ann/cmdline /proc/1 /proc/1/status
        cd /proc/$ann; stat -c %u . status; cd ..; stat -c %u $ann
        exec 5< /proc/$ann; stat -Lc %u /proc/self/fd/5
        kill $!
    """)
    assert out.split() == ["1000:100", "1000:100", "0:0", "0:0", "1000", "1000", "1000", "1000"]


def test_those_outside_see_who_processes_are(box: Box) -> None:
    """Each identity that a container has in use is in its folder by number, which stands in the process's limits."""
    running = box.start("sh", "-c", "su ann -c 'echo up; exec sleep 60' & wait", user="0:29")
    until(lambda: "sleep" in _names(running))
    people = credentials.effective(str(running.folder))
    owners = {name: people[credentials.number_in(b"/proc/%d" % pid)] for pid, name in _processes(running)}
    assert owners == {"sh": (0, 29), "sleep": (1000, 100)}
    rows = ps.table([pid for pid, _ in _processes(running)], ["-o", "uid,gid,comm"], folder=str(running.folder)).rows
    assert set(rows) == {("0", "29", "sh"), ("1000", "100", "sleep")}
    running.signal(9)
    assert running.wait(PATIENCE_S) == 137


def _processes(running: Running) -> list[tuple[int, str]]:
    found = []
    for pid in pausing.members(running.state.pid, {}):
        found.append((pid, Path(f"/proc/{pid}/comm").read_text().strip()))
    return found


def _names(running: Running) -> set[str]:
    return {name for _, name in _processes(running)}
