"""Better Auth's client makes every call that the server's plugins document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.engine.image import Image, build_own
from preflight.engine.run import Run
from tests.backend_node.calling import BASE, MAIL, ORIGIN, OUTSIDE, SECRET
from tests.backend_node.conftest import DOUBLES, NewDatabase, StartAuth

ROOT = Path(__file__).parents[2]
PLUGINS = "email-otp,magic-link,organization,api-key,device-authorization,last-login-method"
PLUGINS += ",multi-session"
GITHUB = {"GITHUB_CLIENT_ID": "github-client", "GITHUB_CLIENT_SECRET": "github-secret"}

# Each suite of the client, with the settings of its server.
SUITES: dict[str, dict[str, str]] = {
    "account": GITHUB,
    "social": {
        **GITHUB,
        **{"OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "client-secret"},
        **OUTSIDE,
    },
    "second-factor": {},
    "passkey": MAIL,
    "mail": MAIL,
    "admin": {**MAIL, "ADMIN_EMAILS": "root@example.com"},
    "email-otp": {**MAIL, "PLUGINS": "email-otp"},
    "magic-link": {**MAIL, "PLUGINS": "magic-link"},
    "organization": {**MAIL, "PLUGINS": "organization"},
    "api-key": {"PLUGINS": "api-key"},
    "device-authorization": {"PLUGINS": "device-authorization"},
    "multi-session": {"PLUGINS": "multi-session,last-login-method"},
}

# These run on Postgres, the others on SQLite, so that both databases get the schema.
ON_POSTGRES = {"admin", "email-otp", "organization", "api-key", "device-authorization"}

# Routes that no suite calls.
NOT_CALLED = {
    "GET /delete-user/callback": "deleting by a mailed link is off: the password is always needed",
}

# Prints each route of a server with all plugins: `GET /path`. Only a development server has the document of routes.
ROUTES = """
import { spawn } from "node:child_process";
const server = spawn(process.execPath, ["auth-server.ts", "--dev"], { stdio: "ignore" });
let answer;
while (!answer?.ok) {
  await new Promise((done) => setTimeout(done, 50));
  answer = await fetch("http://127.0.0.1:7860/api/auth/open-api/generate-schema").catch(() => {});
}
for (const [path, methods] of Object.entries((await answer.json()).paths))
  for (const method of Object.keys(methods)) console.log(method.toUpperCase(), path);
server.kill();
"""

Calls = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def client_image(run: Run) -> Image:
    return build_own(run, "official-client", DOUBLES / "official_client")


@pytest.fixture(scope="module")
def calls_of(
    start_for_all: StartAuth,
    new_database: NewDatabase,
    client_image: Image,
    mail_api: Container,
    outside: Container,
    network: str,
    run: Run,
) -> Iterator[Calls]:
    """`calls_of("account")`: what the suite printed, run once."""
    done: dict[str, list[dict[str, Any]]] = {}

    def calls_of(suite: str) -> list[dict[str, Any]]:
        if suite not in done:
            database = new_database("postgres" if suite in ON_POSTGRES else "sqlite")
            server = start_for_all(DATABASE_URL=database, **SUITES[suite])
            printed = docker(
                "run", "--rm", *run.labels, f"--network={network}", client_image.tag, suite,
                deadline=120,
            )  # fmt: skip
            done[suite] = [json.loads(line) for line in printed.stdout.splitlines()]
            server.remove()
        return done[suite]

    yield calls_of


def test_client_must_be_of_the_servers_version() -> None:
    """The client and the stock servers of the figures must have the Space's version of the library."""
    ours = json.loads((ROOT / "backend-node" / "package.json").read_text())["dependencies"]
    for double in ("official_client", "node_peers"):
        theirs = json.loads((DOUBLES / double / "package.json").read_text())["dependencies"]
        shared = {name for name in ours if "better" in name} & theirs.keys()
        assert len(shared) >= 5
        assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


@pytest.mark.parametrize("suite", SUITES)
def test_must_answer_the_official_client(calls_of: Calls, suite: str) -> None:
    """Each documented call must do what the documentation says."""
    calls = [line for line in calls_of(suite) if "call" in line]
    assert len(calls) >= 6, "the suite made fewer calls than expected"
    failed = [f"{call['call']}: {call['failure']}" for call in calls if call["failure"]]
    assert not failed, "\n".join(failed)


def test_must_make_every_call(calls_of: Calls, node_image: Image, run: Run) -> None:
    """The suites must call every route of every plugin."""
    environment = {
        "BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": BASE, "CORS_ORIGINS": ORIGIN,
        "DATABASE_URL": "sqlite:/tmp/auth.db", "PLUGINS": PLUGINS, **MAIL, **GITHUB,
    }  # fmt: skip
    variables = [f"--env={name}={value}" for name, value in environment.items()]
    listed = docker(
        "run", "--rm", *run.labels, *variables, node_image.tag,
        "node", "--input-type=module", "--eval", ROUTES,
    )  # fmt: skip
    routes = {line.replace("{id}", "github") for line in listed.stdout.splitlines()}
    assert len(routes) > 100, "the document lists the routes"
    called = {route for suite in SUITES for route in calls_of(suite)[-1]["routes"]}
    called = {
        "GET /reset-password/{token}" if "/reset-password/" in route else route for route in called
    }
    assert routes - called - NOT_CALLED.keys() == set()
    assert NOT_CALLED.keys() <= routes, "NOT_CALLED lists a route that does not exist"
