"""Programs that people run in containers, from one Debian, on one network: each as who it is to be, the data where it is to stay.

A web application (Flask behind nginx) keeps notes in PostgreSQL, counts in Redis, and announces them through mosquitto to a
listener. Everything is said in the words of the command line. As an ordinary user with a single id it is the supervisor of
identities that lets PostgreSQL refuse to be root, and the others drop their privileges.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbcontainers import Engine
from nbcontainers.cli.console import Console
from nbcontainers.cli.main import run
from nbcontainers.runtime import host as hosts
from tests import debian
from tests.engine.networked import fetch, host_of_our_own
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "programs"
DATABASE = (
    "run --detach --name database --network notes --network-alias db --volume data:/var/lib/postgresql/data "
    "--restart unless-stopped notes-postgres"
)
UP = (
    DATABASE,
    "run -d --name cache --network notes --restart always notes-redis",
    "run -d --name broker --network notes notes-mosquitto",
    "run -d --name app --network notes --restart on-failure:3 notes-app",
    "run -d --name listener --network notes --no-healthcheck --restart on-failure notes-app python3 listener.py",
    f"run -d --name web --network notes -p 127.0.0.1::80 -v {HERE}/page:/srv/page:ro notes-nginx",
)
HAVE_CHECKS = ("database", "cache", "broker", "app", "web")

Words = Callable[[str], str]


@pytest.fixture(scope="module")
def nbc(module_path: Path) -> Iterator[Words]:
    """The command line, with everything up and healthy; it returns what is printed, errors too."""
    if not hosts.probe().allows("container networks"):
        pytest.skip("this host allows no networks between containers")
    debian.tree("servers")  # the mirror that it comes from is in no world of ours
    with host_of_our_own(), Engine(module_path) as engine:
        debian.load(engine, "servers")

        def words(text: str) -> str:
            out = io.StringIO()
            code = run(shlex.split(text), engine=engine, console=Console(out, out))
            assert code == 0, f"{text}: {code}: {out.getvalue()}"
            return out.getvalue()

        for name in ("postgres", "redis", "mosquitto", "app", "nginx"):
            words(f"build --quiet --target {name} --tag notes-{name} {HERE}")
        words("network create notes")
        try:
            for line in UP:
                words(line)
            healthy(words, *HAVE_CHECKS)
            until(lambda: "listening" in words("logs listener"))
            yield words
        finally:
            for container in engine.containers(all=True):
                container.remove(force=True)


def healthy(nbc: Words, *names: str) -> None:
    for name in names:
        try:
            until(lambda name=name: nbc(f"inspect --format {{{{.State.Health.Status}}}} {name}").strip() == "healthy")
        except AssertionError:
            pytest.fail(f"{name} is not healthy: {nbc(f'logs {name}')[-3000:]}")


def seen(nbc: Words) -> dict[str, object]:
    """All that the application knows, through nginx."""
    return json.loads(fetch(f"http://{nbc('port web 80').strip()}/notes"))


def note(nbc: Words, said: str) -> None:
    """Have something noted, and heard by the listener."""
    request = urllib.request.Request(f"http://{nbc('port web 80').strip()}/notes", said.encode())
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.status == 201
    until(lambda: said in seen(nbc)["heard"])


def test_they_find_each_other_by_name(nbc: Words) -> None:
    """Browser, nginx, application, database, broker, listener, cache, and back."""
    note(nbc, "first")
    found = seen(nbc)
    assert found["notes"] == found["heard"] == ["first"]
    assert "Notes" in fetch(f"http://{nbc('port web 80').strip()}/page/")
    assert '"postgres.sh postgres"' in nbc("ps")
    assert nbc("exec app getent hosts db").split()[0] == nbc("exec app getent hosts database").split()[0]


def test_each_is_who_it_is_to_be(nbc: Words) -> None:
    """And what it makes is its own, also where a volume keeps it."""
    assert seen(nbc)["user"] == 1000
    owner = "stat -c %U:%G:%a"
    assert nbc(f"exec database {owner} /var/lib/postgresql/data/PG_VERSION").strip() == "postgres:postgres:600"
    assert nbc(f"exec cache {owner} /data/appendonlydir").strip() == "redis:redis:755"
    assert nbc(f"exec web {owner} /var/lib/nginx/body").strip() == "www-data:root:700"
    nbc("kill --signal USR1 broker")  # write it all down
    until(lambda: nbc(f"exec broker sh -c '{owner} /mosquitto/* || true'").strip() == "mosquitto:mosquitto:600")
    assert nbc("exec cache id -un").strip() == "redis"
    # PostgreSQL asks the kernel who is at the other end of its socket.
    assert nbc("exec -u postgres database psql -tAc 'SELECT current_user' notes").strip() == "postgres"
    with pytest.raises(AssertionError, match="Peer authentication failed"):
        nbc("exec database psql -U postgres notes")


def test_logs_are_what_the_programs_say(nbc: Words) -> None:
    """Also those that nginx writes to a file that is a link to its output."""
    fetch(f"http://{nbc('port web 80').strip()}/page/?logged")
    until(lambda: "GET /page/?logged HTTP/1.1" in nbc("logs --tail 50 web"))
    assert "ready to accept connections" in nbc("logs database")
    assert "Booting worker" in nbc("logs app")


def test_who_falls_gets_up(nbc: Words) -> None:
    """A killed database recovers, a cache that ends is back with what it kept, and a listener finds its broker again."""
    note(nbc, "before")

    def restarts(name: str) -> int:
        return int(nbc(f"inspect --format {{{{.RestartCount}}}} {name}"))

    before = {name: restarts(name) for name in ("database", "cache", "listener")}
    os.kill(int(nbc("inspect --format {{.State.Pid}} database")), signal.SIGKILL)
    nbc("exec --detach cache redis-cli shutdown nosave")
    nbc("restart broker")
    for name, count in before.items():
        until(lambda name=name, count=count: restarts(name) > count)
    until(lambda: nbc("logs listener").count("listening") > 1)
    healthy(nbc, *HAVE_CHECKS)
    note(nbc, "after")
    assert seen(nbc)["notes"][-2:] == seen(nbc)["heard"][-2:] == ["before", "after"]
    assert "not properly shut down; automatic recovery" in nbc("logs database")


def test_data_outlives_its_container(nbc: Words) -> None:
    """The volume has everything, with its owners, for the next database, whatever address that has."""
    note(nbc, "kept")
    nbc("stop --time 120 database")
    assert "database system is shut down" in nbc("logs --tail 5 database")
    nbc("rm database")
    nbc(DATABASE)
    healthy(nbc, "database")
    assert "kept" in seen(nbc)["notes"]
    assert nbc("exec database stat -c %U:%a /var/lib/postgresql/data").strip() == "postgres:700"
    with pytest.raises(AssertionError, match="in use"):
        nbc("volume rm data")
