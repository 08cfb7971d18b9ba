"""Start: what is refused, and how a database gets its schema."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from backend_node.calling import COMMON, SECRET, Caller
from backend_node.conftest import READ_ONLY, NewDatabase, Postgres, StartAuth
from preflight.container import Exit, run_to_end
from preflight.image import Image
from preflight.run import Run

SOUND = {**COMMON, "DATABASE_URL": "sqlite:/home/node/auth.db"}
EX_CONFIG = 78


def refusal(
    run: Run, image: Image, environment: dict[str, str], options: tuple[str, ...] = ()
) -> Exit:
    end = run_to_end(run, image, environment, 10, options)
    assert end is not None, "it went on running"
    return end


def names(end: Exit) -> list[str]:
    """The variables that the lines of a refusal begin with."""
    return [line.split(":")[0] for line in end.output.splitlines()]


def test_must_name_each_missing_variable(run: Run, node_image: Image) -> None:
    """Row 1. Without its secret, the server must not start."""
    for environment in ({}, {"BETTER_AUTH_SECRET": " ", "DATABASE_URL": ""}):
        end = refusal(run, node_image, environment)
        assert end.code == EX_CONFIG
        assert names(end) == ["BETTER_AUTH_SECRET", "DATABASE_URL"]


@pytest.mark.parametrize(
    "secret", ["k3Jd8sLw", "better-auth-secret-12345678901234567890", "a" * 40]
)
def test_must_refuse_a_weak_secret(run: Run, node_image: Image, secret: str) -> None:
    """Row 2. A secret that is short, published or monotonous signs nothing."""
    end = refusal(run, node_image, {**SOUND, "BETTER_AUTH_SECRET": secret})
    assert (end.code, names(end)) == (EX_CONFIG, ["BETTER_AUTH_SECRET"])
    assert secret not in end.output


@pytest.mark.parametrize(("name", "value"), [("TEST", "1"), ("NODE_ENV", ""), ("NODE_ENV", "test")])
def test_must_refuse_what_switches_security_off(
    run: Run, node_image: Image, name: str, value: str
) -> None:
    """Row 3. Better Auth lowers its guard by TEST and by NODE_ENV."""
    end = refusal(run, node_image, {**SOUND, name: value})
    assert (end.code, names(end)) == (EX_CONFIG, [name])


@pytest.mark.parametrize("origin", ["*", "https://a.example/", "https://*.vercel.app", "a.example"])
def test_must_refuse_an_inexact_origin(run: Run, node_image: Image, origin: str) -> None:
    """Row 4. Each origin must be exact; the faulty entry is named, not shown."""
    end = refusal(run, node_image, {**SOUND, "CORS_ORIGINS": f"https://b.example,{origin}"})
    assert (end.code, names(end)) == (EX_CONFIG, ["CORS_ORIGINS"])
    assert "entry 2 " in end.output


def test_must_list_all_faults_at_once(run: Run, node_image: Image) -> None:
    """Row 5. Whoever repairs one fault must not meet the next at the next start."""
    faulty = {
        **{"TEST": "1", "BETTER_AUTH_SECRET": "short", "CORS_ORIGINS": "*", "DATABASE_URL": "x"},
        **{"SIGNUP": "maybe", "MAIL_URL": "https://mail.example", "GITHUB_CLIENT_ID": "x"},
    }
    end = refusal(run, node_image, faulty)
    assert end.code == EX_CONFIG
    assert {*names(end)} == {
        *("TEST", "BETTER_AUTH_SECRET", "CORS_ORIGINS", "DATABASE_URL", "SIGNUP"),
        *("MAIL_KEY", "MAIL_FROM", "GITHUB_CLIENT_SECRET"),
    }


def test_must_refuse_the_published_sample_on_the_hub(run: Run, node_image: Image) -> None:
    """Row 2, on the Hub. What compose.yaml uses is known to everybody."""
    sample = {"BETTER_AUTH_SECRET": "sample-secret-for-this-machine-only-0123456789"}
    end = refusal(run, node_image, {**SOUND, **sample, "SYSTEM": "spaces"})
    assert (end.code, names(end)) == (EX_CONFIG, ["BETTER_AUTH_SECRET"])


def test_must_name_folder_and_user_when_it_cannot_write(run: Run, node_image: Image) -> None:
    """Row 10. An unwritable folder is a fault of the settings."""
    end = refusal(run, node_image, {**SOUND, "DATABASE_URL": "sqlite:/root/data/auth.db"})
    assert (end.code, names(end)) == (EX_CONFIG, ["DATABASE_URL"])
    assert "/root/data" in end.output
    assert "1000" in end.output


def test_must_create_the_schema_once(
    kind: str, new_database: NewDatabase, start_auth: StartAuth
) -> None:
    """Row 7, and 71. An empty database gets its tables; a second start changes nothing."""
    server = start_auth(DATABASE_URL=new_database(kind))
    ada = Caller(server)
    assert ada.sign_up().status_code == 200
    assert '"tables":0' not in server.logs()

    server.signal()
    end = server.wait_for_exit(10)
    assert end is not None
    assert end.code == 0
    server.start_again()
    server.wait_until_serving("/ready", status=200)

    assert '"tables":0,"changed":0' in server.logs()
    assert ada.session()["user"]["email"] == ada.mail, "the session outlives a restart"
    assert server.get("/ready").json()["durable"] == (kind == "postgres")


def test_must_migrate_one_replica_at_a_time(start_auth: StartAuth, postgres: Postgres) -> None:
    """Row 8. Four replicas that meet an empty database all become ready."""
    url = postgres.database()
    replicas = [start_auth(ready=False, DATABASE_URL=url) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: one.wait_until_serving("/ready", 60, status=200), replicas))
    for replica in replicas:
        assert "cannot open" not in replica.logs()
    ada = Caller(replicas[0])
    ada.sign_up()
    assert Caller(replicas[3]).session(headers={"Cookie": str(ada.cookie)}), "they share accounts"


def test_must_reach_postgres_through_a_websocket(
    start_auth: StartAuth, postgres: Postgres, relay: str
) -> None:
    """A Space may dial ports 80, 443 and 8080 only: Postgres over a WebSocket is Postgres."""
    url = postgres.database()
    server = start_auth(DATABASE_URL=url, DATABASE_WEBSOCKET=relay)
    ada = Caller(server)
    assert ada.sign_up().status_code == 200
    assert ada.session()["user"]["email"] == ada.mail
    assert server.get("/health").json()["services"] == {"database": "connected"}
    assert ada.mail in postgres.query(url, 'SELECT email FROM "user"'), "it is in that database"


def test_must_run_confined(start_auth: StartAuth) -> None:
    """Row 72. Uid 1000, a read-only disk and no capability are enough."""
    server = start_auth(options=tuple(READ_ONLY))
    assert Caller(server).sign_up().status_code == 200
    assert server.inspection["Config"]["User"] == "1000"
    assert SECRET not in server.logs()
