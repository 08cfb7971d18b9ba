"""Start: refused settings, and several replicas on one database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.docker import docker
from preflight.engine.image import Image
from preflight.engine.run import Run
from tests.backend_node.calling import COMMON, Caller, a_mail
from tests.backend_node.conftest import Postgres, StartAuth

SOUND = {**COMMON, "DATABASE_URL": "sqlite:/home/node/auth.db"}
EX_CONFIG = 78

# Runs the image's command in one environment after the other, with nothing else set.
ENDS = """
const { spawnSync } = require("node:child_process");
const [[program, ...args], environments] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const ends = environments.map((env) => spawnSync(program, args, { env, encoding: "utf8", timeout: 10_000 }));
console.log(JSON.stringify(ends.map(({ status, stdout, stderr }) => [status, stdout + stderr])));
"""

Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(node_image: Image, server_on: Callable[[str], Container]) -> Refuse:
    """`refuse({"SIGNUP": "maybe"}, …)`: the server's output in each environment. It must refuse them all."""

    def refuse(*environments: Mapping[str, str]) -> list[str]:
        # A container for each environment would cost more than the refusals.
        own = dict(variable.split("=", 1) for variable in node_image.config["Env"])
        given = json.dumps(
            [node_image.config["Cmd"], [{**own, **environment} for environment in environments]]
        )
        space = server_on("sqlite")
        ends = json.loads(
            docker("exec", "--interactive", space.id, "node", "-e", ENDS, stdin=given).stdout
        )
        assert [code for code, _ in ends] == [EX_CONFIG] * len(environments), ends
        return [output for _, output in ends]

    return refuse


def names(output: str) -> list[str]:
    """The variable at the start of each line of a refusal."""
    return [line.split(":")[0] for line in output.splitlines()]


def test_must_not_start_without_its_secret(run: Run, node_image: Image) -> None:
    """A start without the required variables must name them and exit."""
    end = SpaceContainer.run_to_exit(run, node_image, {}, 10, ["--network=none"])
    assert end is not None, "the container did not exit"
    assert (end.code, names(end.output)) == (EX_CONFIG, ["BETTER_AUTH_SECRET", "DATABASE_URL"])


def test_must_take_blank_for_missing(refuse: Refuse) -> None:
    """An empty variable must count as unset."""
    (output,) = refuse({"BETTER_AUTH_SECRET": " ", "DATABASE_URL": ""})
    assert names(output) == ["BETTER_AUTH_SECRET", "DATABASE_URL"]


def test_must_refuse_a_weak_secret(refuse: Refuse) -> None:
    """A secret that is short, published or monotonous must be refused."""
    secrets = ["k3Jd8sLw", "better-auth-secret-12345678901234567890", "a" * 40]
    outputs = refuse(*({**SOUND, "BETTER_AUTH_SECRET": secret} for secret in secrets))
    for secret, output in zip(secrets, outputs, strict=True):
        assert names(output) == ["BETTER_AUTH_SECRET"]
        assert secret not in output


def test_must_refuse_the_published_sample_on_the_hub(refuse: Refuse) -> None:
    """On the Hub the sample secret of compose.yaml must be refused: it is public."""
    sample = {"BETTER_AUTH_SECRET": "sample-secret-for-this-machine-only-0123456789"}
    (output,) = refuse({**SOUND, **sample, "SYSTEM": "spaces"})
    assert names(output) == ["BETTER_AUTH_SECRET"]


def test_must_refuse_what_switches_security_off(refuse: Refuse) -> None:
    """TEST and other values of NODE_ENV must be refused: they disable checks of Better Auth."""
    unsafe = [("TEST", "1"), ("NODE_ENV", ""), ("NODE_ENV", "test")]
    outputs = refuse(*({**SOUND, name: value} for name, value in unsafe))
    assert [names(output) for output in outputs] == [[name] for name, _ in unsafe]


def test_must_refuse_an_inexact_origin(refuse: Refuse) -> None:
    """Each origin must be exact. The message must give the position of the invalid entry, not its text."""
    origins = ["*", "https://a.example/", "https://*.vercel.app", "a.example"]
    inexact = [{**SOUND, "CORS_ORIGINS": f"https://b.example,{origin}"} for origin in origins]
    for output in refuse(*inexact):
        assert names(output) == ["CORS_ORIGINS"]
        assert "entry 2 " in output


def test_must_list_all_faults_at_once(refuse: Refuse) -> None:
    """A refusal must list all faults at once."""
    faulty = {
        **{"TEST": "1", "BETTER_AUTH_SECRET": "short", "CORS_ORIGINS": "*", "DATABASE_URL": "x"},
        **{"SIGNUP": "maybe", "MAIL_URL": "https://mail.example", "GITHUB_CLIENT_ID": "x"},
    }
    (output,) = refuse(faulty)
    assert {*names(output)} == {
        *("TEST", "BETTER_AUTH_SECRET", "CORS_ORIGINS", "DATABASE_URL", "SIGNUP"),
        *("MAIL_KEY", "MAIL_FROM", "GITHUB_CLIENT_SECRET"),
    }


def test_must_name_folder_and_user_when_it_cannot_write(refuse: Refuse) -> None:
    """An unwritable folder must be refused as an invalid setting."""
    (output,) = refuse({**SOUND, "DATABASE_URL": "sqlite:/root/data/auth.db"})
    assert names(output) == ["DATABASE_URL"]
    assert "/root/data" in output
    assert "1000" in output


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """The URL of the database that the replicas share."""
    return postgres.database()


@pytest.fixture(scope="module")
def replicas(start_for_all: StartAuth, database: str, relay: str) -> list[Container]:
    """Four servers that started at once on an empty database, the last through the WebSocket."""
    start = partial(start_for_all, ready=False, DATABASE_URL=database)
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(start) for _ in range(3)]
        started.append(pool.submit(start, DATABASE_WEBSOCKET=relay))
        return [server.result() for server in started]


def test_must_migrate_one_replica_at_a_time(replicas: list[Container]) -> None:
    """Four replicas that start on an empty database must all become ready."""
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda replica: replica.wait_until_serving("/ready", 60, status=200), replicas)
        )
    for replica in replicas:
        assert "cannot open" not in replica.logs()
    ada = Caller(replicas[0])
    ada.sign_up()
    for replica in replicas:
        assert Caller(replica).session(headers={"Cookie": str(ada.cookie)}), (
            "the replicas must share accounts"
        )


def test_must_reach_postgres_through_a_websocket(
    replicas: list[Container], postgres: Postgres, database: str
) -> None:
    """Postgres over a WebSocket must work: a Space may connect to ports 80, 443 and 8080 only."""
    server = replicas[3]
    server.wait_until_serving("/ready", status=200)
    ada = Caller(server)
    assert ada.sign_up().status_code == 200
    assert ada.session()["user"]["email"] == ada.mail
    assert server.get("/health").json()["services"] == {"database": "connected"}
    assert ada.mail in postgres.query(database, 'SELECT email FROM "user"'), (
        "the account is not in the database"
    )


def test_must_count_for_all_replicas(replicas: list[Container]) -> None:
    """Replicas that share a database must share each limit."""
    for replica in replicas[:2]:
        replica.wait_until_serving("/ready", status=200)
    stranger, again = (Caller(replica) for replica in replicas[:2])
    again.address = stranger.address
    assert [stranger.guess(a_mail()) for _ in range(10)] == [401] * 10
    assert again.guess(a_mail()) == 429
