"""The files of an image that are no programs: users, names, certificates, time zones, terminals, and the usual empty folders."""

from __future__ import annotations

import os
import posixpath
import ssl
import stat
from collections.abc import Callable

from .gathering import Gathering

ROOT_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
FOLDERS = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "srv": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr/bin": 0o755,
    "usr/lib": 0o755,
    "usr/local/bin": 0o755,
    "usr/local/lib": 0o755,
    "usr/local/sbin": 0o755,
    "usr/sbin": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}
NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""
GROUPS = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
users:x:100:
nogroup:x:65534:
"""
CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
BUNDLE = CERTIFICATES[0]
ZONES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo")
TERMINFO = ("/usr/share/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/etc/terminfo")
TERMINALS = """
ansi dumb linux rxvt rxvt-unicode rxvt-unicode-256color screen screen-256color tmux tmux-256color vt100 vt102 vt220
xterm xterm-256color xterm-color xterm-mono
""".split()  # a table of words
LOCALE = "/usr/lib/locale/C.utf8"
DATABASES = ("protocols", "services", "ethertypes")


def gather(gathering: Gathering, prefix: str, warn: Callable[[str], None]) -> None:
    """Place everything that is no program; ``prefix`` is the running Python's, where a conda environment keeps its own.

    The folders in the root are links where they are links on the host, so that every path of the system means the same.
    """
    gathering.seen.update(("/", "/usr", "/etc", "/etc/os-release", *(f"/{name}" for name in ROOT_FOLDERS)))
    for name in ROOT_FOLDERS:
        if os.path.islink(f"/{name}"):
            gathering.link(name, os.readlink(f"/{name}").lstrip("/"))
            gathering.directory(os.path.realpath(f"/{name}"))
        elif name in ("bin", "sbin", "lib"):
            gathering.directory(name)
    for name, mode in FOLDERS.items():
        if not os.path.islink(f"/{name}"):  # some systems have /usr/sbin -> bin
            gathering.directory(name, mode)
        elif name.startswith("usr/"):
            gathering.link(name, os.readlink(f"/{name}"))
        else:
            gathering.directory(name, mode)
    gathering.link("var/run", "../run")
    gathering.link("var/lock", "../run/lock")
    gathering.directory("run/lock", 0o1777)
    _etc(gathering)
    _certificates(gathering, prefix, warn)
    _zones(gathering, prefix, warn)
    _terminals(gathering, prefix)
    if os.path.isdir(LOCALE):
        for _ in gathering.folder(LOCALE, LOCALE):
            pass


def _etc(gathering: Gathering) -> None:
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    nologin = "/usr/sbin/nologin" if os.path.exists("/usr/sbin/nologin") else "/bin/false"
    gathering.file(
        "etc/passwd",
        f"root:x:0:0:root:/root:{shell}\n"
        f"daemon:x:1:1:daemon:/usr/sbin:{nologin}\n"
        f"bin:x:2:2:bin:/bin:{nologin}\n"
        f"nobody:x:65534:65534:nobody:/nonexistent:{nologin}\n",
    )
    gathering.file("etc/group", GROUPS)
    gathering.file("etc/nsswitch.conf", NSSWITCH)
    for name in ("hostname", "hosts", "resolv.conf"):
        gathering.file(f"etc/{name}", "")  # the engine writes them when a container starts
    gathering.link("etc/mtab", "../proc/self/mounts")
    gathering.file("etc/shells", "".join(f"/bin/{name}\n" for name in ("sh", "bash") if os.path.exists(f"/bin/{name}")))
    gathering.file(
        "usr/lib/os-release",
        'NAME="nbcontainers toolbox"\n'
        f'PRETTY_NAME="nbcontainers toolbox, programs of {_host_name()}"\n'
        "ID=nbcontainers-toolbox\n",
    )
    gathering.link("etc/os-release", "../usr/lib/os-release")
    for name in DATABASES:
        if os.path.isfile(f"/etc/{name}") and os.access(f"/etc/{name}", os.R_OK):
            gathering.copy(os.path.realpath(f"/etc/{name}"), f"etc/{name}")


def _host_name() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as stream:
            fields = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    except OSError:
        return "this host"
    return fields.get("PRETTY_NAME", fields.get("ID", "this host")).strip("\"'").replace('"', "")


def _certificates(gathering: Gathering, prefix: str, warn: Callable[[str], None]) -> None:
    """One bundle, under the names by which the usual libraries look for it and under that of this Python's OpenSSL."""
    paths = ssl.get_default_verify_paths()
    candidates = [*CERTIFICATES, *([paths.openssl_cafile] if paths.openssl_cafile else []), f"{prefix}/ssl/cacert.pem"]
    found = next((path for path in candidates if os.path.isfile(path) and os.access(path, os.R_OK)), "")
    if not found:
        warn("no CA certificates were found on this host: programs in the toolbox cannot verify TLS servers")
        return
    gathering.copy(os.path.realpath(found), BUNDLE, 0o644)
    wanted = [*CERTIFICATES[1:], paths.openssl_cafile]
    for path in wanted:
        if path and gathering.belongs(path):
            name = _canonical(gathering.moved(path))
            if name not in gathering:
                gathering.link(name, BUNDLE)


def _canonical(name: str) -> str:
    """The name with the folders in it that are links on this host followed (``/usr/lib/ssl/certs`` may be one)."""
    folder = posixpath.dirname(name)
    real = os.path.realpath(folder)
    return posixpath.join(real if real.startswith(("/etc/", "/usr/")) else folder, posixpath.basename(name))


def _zones(gathering: Gathering, prefix: str, warn: Callable[[str], None]) -> None:
    candidates = [*ZONES, f"{prefix}/share/zoneinfo", *_package_zones()]
    found = next((path for path in candidates if os.path.isfile(f"{path}/UTC")), "")
    if not found:
        warn("no time zones were found on this host: the toolbox knows UTC only")
        return

    def keep(path: str) -> bool:
        # ``right`` counts leap seconds, ``posix`` is the same again, ``localtime`` is this host's own setting.
        return path.partition("/")[0] not in ("right", "posix", "localtime", "posixrules") and not path.endswith(
            (".py", ".pyc", "__pycache__")
        )

    for _ in gathering.folder(os.path.realpath(found), ZONES[0], keep):
        pass
    gathering.link("etc/localtime", "/usr/share/zoneinfo/UTC")


def _package_zones() -> list[str]:
    """The time zones of the package tzdata, for hosts that have none of their own."""
    from importlib.util import find_spec

    spec = find_spec("tzdata")
    return [posixpath.join(folder, "zoneinfo") for folder in (spec and spec.submodule_search_locations) or ()]


def _terminals(gathering: Gathering, prefix: str) -> None:
    """The terminals that people have, where the host's libraries look for them, and where a moved Python's do."""
    for folder in (*TERMINFO, f"{prefix}/share/terminfo"):
        if not gathering.belongs(folder):
            continue
        for name in TERMINALS:
            for letter in (name[0], f"{ord(name[0]):x}"):
                path = f"{folder}/{letter}/{name}"
                try:
                    if stat.S_ISREG(os.stat(path).st_mode):
                        gathering.host(path)
                except OSError:
                    continue
