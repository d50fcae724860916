"""What of docker's words a host without namespaces (tier T4) cannot give, and why: said before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import HostError
from ..runtime.host import ENABLE_NAMESPACES, Host

_CONTAINER = "container:"
_HOSTS = "containers have this host's network: the port that a program opens is this host's"
_NO_NAMESPACE = "containers have no namespaces that another could enter"
_REFUSED: Mapping[str, tuple[str, str]] = {
    "privileged": ("no privilege can be given to a process of this user", "leave it out"),
    "cap_add": ("no privilege can be given to a process of this user", "leave it out"),
    "device_cgroup_rule": ("there are no device rules", "leave it out"),
    "sysctl": ("kernel parameters are this host's", "leave it out"),
    "group_add": ("PRoot shows a program one group", "leave it out"),
    "publish": (_HOSTS, "leave it out, and open the program's own port"),
    "publish_all": (_HOSTS, "leave it out, and open the program's own port"),
}


def check(options: Mapping[str, Any], host: Host) -> None:
    """HostError for an option that cannot be kept; nothing on other tiers."""
    if not host.is_viewed:
        return
    for key, (why, hint) in _REFUSED.items():
        if options.get(key):
            raise _refused(f"--{key.replace('_', '-')}", why, hint, host)
    if options.get("profile") == "sandbox":
        why = "PRoot and Landlock are no boundary for code that is not trusted"
        raise _refused("--profile sandbox", why, ENABLE_NAMESPACES, host)
    for key in ("pid", "ipc", "network"):
        words = options.get(key) or ()
        for word in [words] if isinstance(words, str) else words:
            if word.startswith(_CONTAINER):
                raise _refused(f"--{key} {word}", _NO_NAMESPACE, "leave it out", host)
            if key == "network" and word not in ("host", "none"):
                raise _refused(f"--network {word}", _HOSTS, "there are host and none", host)
    if options.get("userns") not in (None, "", "host"):
        raise _refused(f"--userns {options['userns']}", "there are no user namespaces", "leave it out", host)


def missing(options: Mapping[str, Any], host: Host) -> tuple[str, ...]:
    """What was asked for and is not kept, in plain words."""
    if not host.is_viewed:
        return ()
    named = [f"--{key} {options[key]}" for key in ("hostname", "domainname") if options.get(key)]
    return tuple(
        f"{words}: programs are told this host's name, though the container's files have that one" for words in named
    )


def _refused(what: str, why: str, hint: str, host: Host) -> HostError:
    return HostError(f"{what} cannot be had on this host, tier {host.tier}: {why}", tier=host.tier, hint=hint)
