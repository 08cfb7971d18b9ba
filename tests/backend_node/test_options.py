"""The effect of each optional variable."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from preflight.engine.container import Container
from tests.backend_node.calling import (
    BASE,
    MAIL,
    ORIGIN,
    OUTSIDE,
    PASSWORD,
    Caller,
    a_mail,
    an_address,
    code,
    set_cookies,
)
from tests.backend_node.conftest import Postgres, StartAuth

FRONT_SECRET = "front-secret-Xw7pQz2mN8"
METRICS_TOKEN = "a-token-for-metrics"
EXTENDED = {
    **{"COOKIE_MODE": "cross-site", "TRUSTED_FRONT_SECRET": FRONT_SECRET, **MAIL},
    **{"METRICS_TOKEN": METRICS_TOKEN, "OAUTH_CLIENT_ID": "client", "GITHUB_CLIENT_ID": "client"},
    **{"OAUTH_CLIENT_SECRET": "client-secret", "GITHUB_CLIENT_SECRET": "client-secret"},
    **{"GOOGLE_CLIENT_ID": "client", "GOOGLE_CLIENT_SECRET": "client-secret"},
}


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """The URL of the database that both servers share."""
    return postgres.database()


@pytest.fixture(scope="module")
def extended(start_for_all: StartAuth, database: str, mail_api: Container) -> Container:
    """The server with every option on."""
    return start_for_all(DATABASE_URL=database, **EXTENDED)


@pytest.fixture(scope="module")
def ada(extended: Container) -> Caller:
    """A user who signed up before sign-up was closed."""
    member = Caller(extended)
    assert member.sign_up().status_code == 200
    return member


@pytest.fixture(scope="module")
def closed(start_for_all: StartAuth, database: str, ada: Caller) -> Container:
    """The server on the same database, without sign-up, and with an administrator."""
    number = ada.session()["user"]["id"]
    return start_for_all(DATABASE_URL=database, SIGNUP="closed", ADMIN_USER_IDS=number)


def test_must_partition_the_cookie_across_sites(extended: Container) -> None:
    """Mode C: across sites the cookie must be partitioned, and JSON as text must be accepted."""
    ada = Caller(extended)
    body = json.dumps({"name": "Ada", "email": ada.mail, "password": PASSWORD})
    answer = ada.call("POST", "/sign-up/email", data=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200
    for cookie in set_cookies(answer):
        expected = {"Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"}
        assert expected <= {*cookie.split("; ")}
        assert "Domain" not in cookie
    refused = ada.call(
        "POST", "/sign-up/email", data=body, headers={"Content-Type": "text/plain", "Origin": ""}
    )
    assert refused.status_code == 415


def test_must_not_tell_who_has_an_account(start_auth: StartAuth, mail_api: Container) -> None:
    """`SIGNUP=verified` must answer a taken address like a free address."""
    server = start_auth(SIGNUP="verified", **MAIL)
    ada = Caller(server)
    first, second = ada.sign_up(), Caller(server).sign_up(email=ada.mail)
    assert first.status_code == second.status_code == 200
    assert first.json().keys() == second.json().keys()
    assert first.json()["token"] is second.json()["token"] is None
    assert code(ada.sign_in()) == (403, "EMAIL_NOT_VERIFIED")


def test_must_close_sign_up(closed: Container, database: str, postgres: Postgres) -> None:
    """`SIGNUP=closed` must create no user."""
    ada = Caller(closed)
    assert code(ada.sign_up()) == (400, "EMAIL_PASSWORD_SIGN_UP_DISABLED")
    made = f"SELECT count(*) FROM \"user\" WHERE email = '{ada.mail}'"
    assert postgres.query(database, made).strip() == "0"


def test_must_let_only_administrators_administer(
    extended: Container, closed: Container, ada: Caller
) -> None:
    """The users that the environment names must be administrators, and no others."""
    path = f"/admin/list-users?searchField=email&searchValue={ada.mail}"
    assert ada.get(path).status_code == 403
    administrator = Caller(closed)
    administrator.cookie = ada.cookie
    users = administrator.get(path)
    assert users.status_code == 200
    assert [user["email"] for user in users.json()["users"]] == [ada.mail]
    other = Caller(extended)
    other.sign_up()
    other.server = closed
    assert other.get(path).status_code == 403


def test_must_reset_a_password_by_mail(extended: Container, mail_api: Container) -> None:
    """A password reset must send a single mail, and its link must work once."""
    ada = Caller(extended)
    ada.sign_up()
    answer = ada.post("/request-password-reset", {"email": ada.mail, "redirectTo": ORIGIN})
    assert answer.status_code == 200
    (mail,) = [sent for sent in mail_api.get("/sent").json() if ada.mail in sent["to"]]
    assert mail["authorization"] == "Bearer mail-key"
    link = next(word for word in mail["text"].split() if word.startswith(BASE))
    landed = ada.get(link.removeprefix(f"{BASE}/api/auth"))
    assert landed.headers["Location"].startswith(ORIGIN)
    (token,) = parse_qs(urlsplit(landed.headers["Location"]).query)["token"]
    body = {"newPassword": "another long one", "token": token}
    assert ada.post("/reset-password", body).status_code == 200
    assert code(ada.post("/reset-password", body)) == (400, "INVALID_TOKEN")
    assert ada.session() is None, "a reset must end all sessions"
    assert ada.sign_in("another long one").status_code == 200
    assert token not in extended.logs()


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("huggingface", "huggingface.co"),
        ("github", "github.com"),
        ("google", "accounts.google.com"),
    ],
)
def test_must_start_oauth_at_the_public_origin(
    extended: Container, provider: str, host: str
) -> None:
    """The provider must send the user back to the public origin, over https."""
    ada = Caller(extended)
    started = ada.post("/sign-in/social", {"provider": provider, "callbackURL": ORIGIN}).json()
    where = urlsplit(started["url"])
    assert where.hostname == host
    assert parse_qs(where.query)["redirect_uri"] == [f"{BASE}/api/auth/callback/{provider}"]
    lost = ada.get(f"/callback/{provider}?code=x")
    assert lost.status_code == 302
    assert lost.headers["Location"].startswith((BASE, "/"))
    assert "error" in lost.headers["Location"]


def test_must_believe_the_front_end_that_it_knows(extended: Container) -> None:
    """Mode A: users behind a front end must have separate limits if, and only if, it sends the secret."""
    front, user = Caller(extended), Caller(extended)
    assert [user.guess(a_mail()) for _ in range(11)] == [401] * 10 + [429]

    def forward(caller: Caller, address: str, secret: str) -> int:
        forwarded = {"X-Forwarded-For": f"{address}, {caller.address}", "X-Front-Secret": secret}
        return caller.guess(a_mail(), forwarded)

    assert forward(front, user.address, FRONT_SECRET) == 429, "the user's own limit"
    assert forward(front, an_address(), FRONT_SECRET) == 401, "another user's"
    wrong = FRONT_SECRET[:-1]
    assert forward(front, user.address, wrong) == 401, "the limit of the front end's address"
    assert forward(user, an_address(), wrong) == 429, "no way round the user's own limit"
    assert FRONT_SECRET not in extended.logs()


def test_must_show_metrics_to_their_reader_only(extended: Container) -> None:
    """Metrics must need their token and have a bounded number of routes."""
    Caller(extended).get("/nope")
    assert extended.get("/metrics").status_code == 404
    answer: requests.Response = extended.get(
        "/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}
    )
    assert 'route="other",status="404"' in answer.text
    assert "process_resident_memory_bytes" in answer.text


def test_must_refuse_a_breached_password(start_auth: StartAuth, outside: Container) -> None:
    """`PASSWORD_BREACH_CHECK=on` must refuse a breached password with that reason."""
    ada = Caller(start_auth(PASSWORD_BREACH_CHECK="on", **OUTSIDE))
    assert code(ada.sign_up(password="a breached pass phrase")) == (400, "PASSWORD_COMPROMISED")
    assert ada.sign_up().status_code == 200


def test_must_not_wait_for_the_breach_check(start_auth: StartAuth) -> None:
    """`PASSWORD_BREACH_CHECK=on` must accept a sign-up when the service does not answer, and log it."""
    server = start_auth(PASSWORD_BREACH_CHECK="on")
    assert Caller(server).sign_up().status_code == 200
    assert "the breach check was skipped" in server.logs()


def test_must_ask_for_a_captcha(start_auth: StartAuth, outside: Container) -> None:
    """`TURNSTILE_SECRET_KEY` must make sign-up and sign-in refuse a caller without a solved captcha."""
    ada = Caller(start_auth(TURNSTILE_SECRET_KEY="turnstile-secret", **OUTSIDE))
    account = {"name": "Ada", "email": ada.mail, "password": PASSWORD}
    assert code(ada.post("/sign-up/email", account)) == (400, "MISSING_RESPONSE")
    wrong, solved = {"X-Captcha-Response": "wrong"}, {"X-Captcha-Response": "solved"}
    assert code(ada.post("/sign-up/email", account, headers=wrong)) == (403, "VERIFICATION_FAILED")
    assert ada.post("/sign-up/email", account, headers=solved).status_code == 200
    assert code(ada.sign_in()) == (400, "MISSING_RESPONSE")
