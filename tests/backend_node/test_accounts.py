"""Accounts and sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.backend_node.calling import (
    BASE,
    COOKIE,
    DEVICE_COOKIE,
    PASSWORD,
    Caller,
    a_mail,
    code,
    set_cookies,
)


def test_must_sign_up(caller: Caller) -> None:
    """Sign-up must sign the user in by one session cookie, and set the device cookie."""
    answer = caller.sign_up()
    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == caller.mail
    assert [cookie.split("=")[0] for cookie in set_cookies(answer)] == [COOKIE, DEVICE_COOKIE]
    assert caller.session()["user"]["email"] == caller.mail


@pytest.mark.parametrize("kind", ["sqlite"])
def test_must_run_confined(member: Caller) -> None:
    """The server must run as uid 1000 with a read-only disk and no capability."""
    found = member.server.inspection
    assert found["Config"]["User"] == "1000"
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]


def test_must_keep_the_cookie_on_this_site(caller: Caller) -> None:
    """Each cookie must be first-party by default."""
    for cookie in set_cookies(caller.sign_up()):
        assert {"Path=/", "HttpOnly", "Secure", "SameSite=Lax"} <= {*cookie.split("; ")}
        assert "Partitioned" not in cookie
        assert "Domain" not in cookie


def test_must_not_make_two_users_of_one_mail(known: Caller) -> None:
    """Sign-up must treat another letter case as the same mail address."""
    again = Caller(known.server).post(
        "/sign-up/email", {"name": "Eve", "email": known.mail.upper(), "password": PASSWORD}
    )
    assert code(again) == (422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL")


def test_must_not_let_a_user_promote_himself(member: Caller, caller: Caller) -> None:
    """Fields that users may not set must have no effect."""
    body = {"name": "Eve", "email": caller.mail, "password": PASSWORD}
    attack = '{"role":"admin","emailVerified":true,"banned":false,"__proto__":{"role":"admin"},'
    answer = caller.call(
        "POST", "/sign-up/email", data=attack + json.dumps(body)[1:],
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    if answer.status_code == 200:
        user = answer.json()["user"]
        assert user["role"] == "user"
        assert user["emailVerified"] is False
    else:
        assert answer.status_code == 400
    assert member.post("/update-user", {"role": "admin"}).status_code == 400
    assert member.session()["user"]["role"] == "user"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"password": "a" * 7}, 400), ({"password": "a" * 8}, 200), ({"password": "a" * 128}, 200),
        ({"password": "a" * 129}, 400), ({"email": "no address"}, 400), ({"email": None}, 400),
        ({"name": None}, 400), ({"password": None}, 400),
    ],
)  # fmt: skip
def test_must_check_what_is_entered(caller: Caller, fields: dict[str, str], status: int) -> None:
    """Sign-up must refuse a password out of bounds and an invalid address."""
    assert caller.sign_up(**fields).status_code == status


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("password1", "PASSWORD_TOO_COMMON"), ("ILOVEYOU", "PASSWORD_TOO_COMMON"),
        ("lovelace1815", "PASSWORD_TOO_PERSONAL"),
    ],
)  # fmt: skip
def test_must_refuse_a_password_that_is_tried_first(
    caller: Caller, password: str, reason: str
) -> None:
    """Sign-up must refuse, with the reason, a common password and one that is little more than the user's name."""
    assert code(caller.sign_up(name="Ada Lovelace", password=password)) == (400, reason)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{", 400), ("null", 400), ("[]", 400), ("", 400), ('"text"', 400), ("[" * 10_000, 400),
        ("[" * 10_000 + "]" * 10_000, 400), ('{"email":{"$ne":1},"password":[]}', 400),
        ('{"name":"a\\u0000b","email":"nul@example.com","password":"long enough"}', 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/sign-in/email", "/sign-up/email"])
def test_must_refuse_a_malformed_body(caller: Caller, path: str, body: str, expected: int) -> None:
    """A body that is not an object of the right form must get 400."""
    answer = caller.call(
        "POST", path, data=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == expected


def test_must_not_tell_by_the_answer_who_has_an_account(known: Caller) -> None:
    """A wrong password and an unknown address must get the same answer. test_figures compares the times."""
    texts = set()
    for mail in (known.mail, a_mail()):
        stranger = Caller(known.server)
        stranger.mail = mail
        answer = stranger.sign_in("wrong password")
        texts.add((answer.status_code, answer.json()["code"], answer.json()["message"]))
    assert len(texts) == 1


def test_must_forget_on_request(member: Caller) -> None:
    """`rememberMe: false` must set a cookie that ends with the browser session."""
    member.cookie = None
    cookies = set_cookies(member.sign_in(rememberMe=False))
    session = next(cookie for cookie in cookies if cookie.startswith(COOKIE))
    assert "Max-Age" not in session
    assert member.session()["user"]["email"] == member.mail


def test_must_know_nobody_without_a_session(caller: Caller) -> None:
    """A request without a session must get `null`, which no cache may store."""
    answer = caller.get("/get-session")
    assert (answer.status_code, answer.text) == (200, "null")
    assert answer.headers["Cache-Control"] == "no-store"


def test_must_answer_the_short_way_like_the_long_one(known: Caller) -> None:
    """The short path must give the library's own bytes. A query string selects the library's path."""
    short, long = known.get("/get-session"), known.get("/get-session?disableRefresh=true")
    assert short.content == long.content
    assert short.headers["Content-Type"] == long.headers["Content-Type"]
    assert short.headers["Cache-Control"] == long.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cookie: cookie[:-10] + "AAAAAAA%3D",
        lambda cookie: cookie[:40],
        lambda cookie: cookie + "%zz",
        lambda cookie: cookie.replace("=", "=x", 1),
        lambda cookie: cookie.split(".")[0],
    ],
)
def test_must_not_believe_a_spoiled_cookie(known: Caller, spoil: object) -> None:
    """The server must ignore a cookie that it did not sign."""
    assert callable(spoil)
    assert known.session(headers={"Cookie": spoil(known.cookie)}) is None


def test_must_survive_two_session_cookies(known: Caller) -> None:
    """Of two session cookies the server must accept at most one."""
    both = f"{COOKIE}=x.y; {known.cookie}"
    session = known.session(headers={"Cookie": both})
    assert session is None or session["user"]["email"] == known.mail


def test_must_accept_a_signed_bearer_token_only(known: Caller) -> None:
    """Mode B: a bearer token must work; the token in the session table must sign no user in."""
    known.cookie, token = None, known.token
    assert known.session(headers={"Authorization": f"Bearer {token}"})["user"]
    bare = token.partition(".")[0]
    for wrong in (f"Bearer {bare}", "Bearer junk", f"Bearer {bare}.junk", f"Basic {token}"):
        assert known.session(headers={"Authorization": wrong}) is None
    listed = known.get("/list-sessions", headers={"Authorization": f"Bearer {token}"})
    assert listed.status_code == 200


def test_must_sign_out(member: Caller) -> None:
    """Sign-out must work without a body and make the cookie invalid."""
    answer = member.post("/sign-out")
    assert answer.status_code == 200
    assert any(c.startswith(f"{COOKIE}=;") and "Max-Age=0" in c for c in set_cookies(answer))
    assert member.session() is None


def test_must_revoke_sessions_at_once(member: Caller) -> None:
    """A revoked session must end by its next request."""
    phone, tablet = Caller(member.server), Caller(member.server)
    for device in (phone, tablet):
        device.mail = member.mail
        device.sign_in()
    assert len(member.get("/list-sessions").json()) == 3
    bare = phone.token.partition(".")[0]
    assert member.post("/revoke-session", {"token": bare}).status_code == 200
    assert phone.session() is None
    assert tablet.session()
    assert member.post("/revoke-other-sessions", {}).status_code == 200
    assert tablet.session() is None
    assert member.session()


def test_must_change_the_password(member: Caller) -> None:
    """A change of password must require the old password and end other sessions on request."""
    phone = Caller(member.server)
    phone.mail = member.mail
    phone.sign_in()
    body = {"newPassword": "another long one", "revokeOtherSessions": True}
    wrong = member.post("/change-password", {**body, "currentPassword": "wrong password"})
    assert code(wrong) == (400, "INVALID_PASSWORD")
    assert phone.session()
    right = member.post("/change-password", {**body, "currentPassword": PASSWORD})
    assert right.status_code == 200
    assert phone.session() is None
    assert phone.sign_in().status_code == 401
    assert phone.sign_in("another long one").status_code == 200


def test_must_ask_for_the_password_to_delete_an_account(member: Caller) -> None:
    """Deletion must require the password and remove all data of the account."""
    assert code(member.post("/delete-user", {})) == (400, "PASSWORD_REQUIRED")
    wrong = member.post("/delete-user", {"password": "wrong password"})
    assert code(wrong) == (400, "INVALID_PASSWORD")
    assert member.session()
    assert member.post("/delete-user", {"password": PASSWORD}).status_code == 200
    assert member.session() is None
    assert member.sign_in().status_code == 401


def test_must_say_that_it_sends_no_mail(member: Caller) -> None:
    """Without a mail API the server must refuse, with the reason, each call that needs mail."""
    reset = member.post("/request-password-reset", {"email": member.mail})
    assert code(reset) == (400, "RESET_PASSWORD_DISABLED")
    verify = member.post("/send-verification-email", {"email": member.mail})
    assert code(verify) == (400, "VERIFICATION_EMAIL_NOT_ENABLED")


def one_time_code(secret: str) -> str:
    """The current code. Source: RFC 6238."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def test_must_ask_for_the_second_factor(member: Caller) -> None:
    """A password alone must give no session, and tries of codes must be limited."""
    enabled = member.post("/two-factor/enable", {"password": PASSWORD}).json()
    (secret,) = parse_qs(urlsplit(enabled["totpURI"]).query)["secret"]
    confirmed = member.post("/two-factor/verify-totp", {"code": one_time_code(secret)})
    assert confirmed.status_code == 200

    phone = Caller(member.server)
    phone.mail = member.mail
    answer = phone.sign_in()
    assert answer.json()["twoFactorRedirect"] is True
    assert phone.cookie is None, "no session before the second factor"
    half = "; ".join(cookie.split(";")[0] for cookie in set_cookies(answer))
    tries = [
        phone.post("/two-factor/verify-totp", {"code": "000000"}, headers={"Cookie": half})
        for _ in range(12)
    ]
    assert {answer.status_code for answer in tries[:3]} == {401}
    assert tries[-1].status_code in (400, 429), "no thirteenth guess"

    tablet = Caller(member.server)
    tablet.mail = member.mail
    half = "; ".join(cookie.split(";")[0] for cookie in set_cookies(tablet.sign_in()))
    backup = {"code": enabled["backupCodes"][0]}
    answer = tablet.post("/two-factor/verify-backup-code", backup, headers={"Cookie": half})
    assert answer.status_code == 200
    assert any(cookie.startswith(f"{COOKIE}=") for cookie in set_cookies(answer))


def test_must_issue_tokens_that_others_can_verify(known: Caller) -> None:
    """A JWT must hold the declared claims only. test/jwt.test.ts checks its signature."""
    token = known.get("/token").json()["token"]
    head, body = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in token.split(".")[:2]
    )
    assert body.keys() == {"sub", "email", "email_verified", "name", "iat", "exp", "iss", "aud"}
    assert body["iss"] == body["aud"] == BASE
    assert body["exp"] - body["iat"] == 15 * 60
    keys = known.get("/jwks")
    assert head["kid"] in [key["kid"] for key in keys.json()["keys"]]
    assert not [name for key in keys.json()["keys"] for name in key if name == "d"]
    assert "max-age" in keys.headers["Cache-Control"]


def test_must_not_sign_a_token_unasked(known: Caller) -> None:
    """`get-session` must not sign a JWT."""
    answers = [known.get("/get-session"), known.get("/get-session?disableRefresh=true")]
    assert not [answer for answer in answers if "set-auth-jwt" in answer.headers]


@pytest.mark.parametrize("path", ["/reference", "/open-api/generate-schema"])
def test_must_not_publish_its_routes(caller: Caller, path: str) -> None:
    """The document of all routes must be off in production."""
    assert caller.get(path).status_code == 404


def test_must_let_no_user_administer(known: Caller) -> None:
    """A signed-in user must not be an administrator without being named as one."""
    assert known.get("/admin/list-users?limit=10").status_code == 403


def test_must_sign_in_by_user_name(caller: Caller) -> None:
    """Sign-in must accept a user name instead of the mail address."""
    name = caller.mail.partition("@")[0]
    assert caller.sign_up(username=name).status_code == 200
    body = {"username": name, "password": PASSWORD}
    assert Caller(caller.server).post("/sign-in/username", body).status_code == 200


def test_must_offer_passkeys(known: Caller) -> None:
    """A passkey must be bound to the host of the public origin."""
    options = known.get("/passkey/generate-register-options").json()
    assert options["rp"]["id"] == urlsplit(BASE).hostname
