"""CORS: the listed front ends may read every answer, and no other origin may read any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from preflight.contract.findings import not_promised, report, require_none, show
from preflight.engine.answering import Answering
from preflight.engine.visitor import Visit
from preflight.model.problems import Problem
from preflight.model.space import Space
from preflight.rules.origins import misspelt_origins
from preflight.rules.sources import Sources

REQUEST_HEADERS = "authorization,content-type"
# A request to each, from each origin.
MOST_POSTS = 5


def allowed_origin(space: Space) -> str:
    """An origin that the Space was started with. Skips if none is declared."""
    declaration = space.declaration
    listed = declaration.valid_environment().get("CORS_ORIGINS", "") if declaration else ""
    if not listed.strip():
        not_promised("`.env.example` declares no CORS_ORIGINS with an @example")
    return listed.split(",")[0].strip()


def other_origins(allowed: str) -> dict[str, str]:
    """Origins that must not pass for `allowed`: each has fooled a real allow-list."""
    scheme, _, host = allowed.partition("://")
    other_scheme = "http" if scheme == "https" else "https"
    return {
        "another site": "https://attacker.example",
        "another scheme": f"{other_scheme}://{host}",
        "another port": f"{allowed}:8443",
        "a subdomain": f"{scheme}://evil.{host}",
        "the name as a prefix": f"{allowed}.attacker.example",
        "the name as a suffix": f"{scheme}://evil{host}",
        "a trailing slash": f"{allowed}/",
        "upper case": allowed.upper(),
        "a trailing dot": f"{allowed}.",
        "null": "null",
    }


def near_misses(subject: Answering, allowed: str) -> dict[str, str]:
    """The other origins to try; only the most telling ones for a Space that is sent few requests."""
    few = ("another site", "a subdomain", "the name as a prefix", "null")
    return {
        kind: origin
        for kind, origin in other_origins(allowed).items()
        if kind in few or not subject.safe_only
    }


@pytest.fixture(scope="session")
def posts(visited: Visit) -> list[str]:
    """Paths for which the Space's OpenAPI document names a POST, a few of them."""
    found = [operation.path for operation in visited.documented if operation.method == "POST"]
    return [path for path in found if "{" not in path][:MOST_POSTS]


def routes(subject: Answering, posts: list[str]) -> Iterator[tuple[str, str]]:
    """Requests that end in different statuses: found, missing, not allowed, and malformed where a POST is documented."""
    yield "GET", "/"
    yield "GET", "/health"
    yield "GET", "/no-such-page"
    if not subject.safe_only:
        yield "DELETE", "/"
        yield from (("POST", path) for path in posts)


def preflight(
    subject: Answering, posts: list[str], origin: str
) -> tuple[str, str, requests.Response]:
    """Send a preflight request for a documented POST, or else for GET /; the method, the path and the answer."""
    method, path = ("POST", posts[0]) if posts else ("GET", "/")
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": REQUEST_HEADERS,
    }
    return method, path, subject.options(path, headers=headers)


def ask(
    subject: Answering, method: str, path: str, origin: str | None, **headers: str
) -> requests.Response:
    sent = {"Origin": origin, **headers} if origin is not None else headers
    if method == "POST":
        return subject.post(
            path, headers={**sent, "Content-Type": "application/json"}, data="{malformed"
        )
    return subject.request(method, path, headers=sent)


def test_answers_a_preflight_request_of_a_listed_origin(
    space: Space, direct: Answering, posts: list[str]
) -> None:
    """The answer to a preflight request from an origin in CORS_ORIGINS allows that origin, the requested method and the requested headers.

    Severity: risk

    On the Hub: "blocked by CORS policy: Response to preflight request doesn't pass access control check", on a custom domain and wherever the edge does not answer preflight requests itself

    Fix: Answer OPTIONS with 200 or 204. Set Access-Control-Allow-Origin to exactly that origin, and allow the methods and headers that the front end sends.

    Source: Fetch standard; measured on hf.space: the edge answers preflight requests itself.
    """
    origin = allowed_origin(space)
    method, path, answer = preflight(direct, posts, origin)
    got = {name.lower(): value.lower() for name, value in answer.headers.items()}
    expectations = {
        "status": (answer.status_code in (200, 204), f"{answer.status_code}"),
        "access-control-allow-origin": (
            answer.headers.get("Access-Control-Allow-Origin") == origin,
            got.get("access-control-allow-origin", "absent"),
        ),
        **{
            f"{word} in {header}": (word in got.get(header, ""), got.get(header, "absent"))
            for header, word in (
                ("access-control-allow-methods", method.lower()),
                ("access-control-allow-headers", "content-type"),
                ("access-control-allow-headers", "authorization"),
            )
        },
    }
    require_none(
        Problem(f"OPTIONS {path} from {origin}: {what}", actual)
        for what, (holds, actual) in expectations.items()
        if not holds
    )


def test_refuses_a_preflight_request_of_any_other_origin(
    space: Space, direct: Answering, posts: list[str]
) -> None:
    """A preflight request from an origin that is not listed gets no Access-Control-Allow-Origin and no Access-Control-Allow-Credentials.

    Severity: risk

    On the Hub: any website can call the Space as the visitor, wherever the edge does not answer preflight requests itself

    Fix: Compare the whole Origin with each listed origin, exactly. Do not match prefixes, suffixes or patterns.

    Source: Fetch standard; measured on hf.space: the edge answers preflight requests itself.
    """
    allowed = allowed_origin(space)
    found: list[Problem] = []
    for kind, origin in near_misses(direct, allowed).items():
        _, path, answer = preflight(direct, posts, origin)
        found += _granted(f"OPTIONS {path}", kind, origin, answer)
    require_none(found)


def test_lets_a_listed_origin_read_every_status(
    space: Space, direct: Answering, posts: list[str]
) -> None:
    """Error answers carry the CORS headers too, so that the front end can read the error.

    Severity: risk

    On the Hub: the browser shows "CORS error" or "Failed to fetch" instead of the 4xx or 5xx that the Space sent

    Fix: Make the CORS middleware the outermost layer, outside the error handlers too.

    Source: Fetch standard.
    """
    origin = allowed_origin(space)
    seen = set()
    found = []
    for method, path in routes(direct, posts):
        answer = ask(direct, method, path, origin)
        seen.add(answer.status_code // 100)
        show("cors", shown("listed", origin, method, path, answer, listed=True))
        actual = answer.headers.get("Access-Control-Allow-Origin")
        if actual != origin:
            found.append(
                Problem(
                    f"Access-Control-Allow-Origin: {origin} on {method} {path}",
                    f"status {answer.status_code}, {actual or 'header absent'}",
                )
            )
    require_none(found)
    if 4 not in seen:
        not_promised(
            "no request ended in a status from 400 to 499, so error answers were not judged"
        )


def test_lets_no_other_origin_read_any_answer(
    space: Space, direct: Answering, posts: list[str]
) -> None:
    """An answer to an origin that is not listed carries no Access-Control-Allow-Origin and no Access-Control-Allow-Credentials.

    Severity: risk

    On the Hub: the edge adds Access-Control-Allow-Origin for any Origin; if the Space adds Allow-Credentials, any website reads the visitor's session

    Fix: Send both headers to listed origins only. Never send `*`, and never echo any other Origin.

    Source: measured on hf.space: the edge echoes any Origin.
    """
    allowed = allowed_origin(space)
    found: list[Problem] = []
    for kind, origin in near_misses(direct, allowed).items():
        for method, path in routes(direct, posts):
            answer = ask(direct, method, path, origin, Cookie="session=1")
            show("cors", shown(kind, origin, method, path, answer, listed=False))
            found += _granted(f"{method} {path}", kind, origin, answer)
    require_none(found)


def test_origins_in_the_code_are_what_browsers_send(
    sources: Sources, direct: Answering, posts: list[str]
) -> None:
    """Each allowed origin in the code is scheme, host and port alone: no slash at its end, no path, no capitals.

    Severity: advice

    On the Hub: the front end's requests with cookies fail, and on a custom domain all of them: "blocked by CORS policy: No 'Access-Control-Allow-Origin' header"; without cookies, the edge of hf.space allows each origin itself

    Fix: Write the origin as the browser sends it: https://my-app.vercel.app, without a slash at its end.

    Source: RFC 6454, 6.2; Fetch standard, CORS check: the header must equal the origin.
    """
    misspelt = list(misspelt_origins(sources.running))
    if not misspelt:
        not_promised("the code has no list of origins with a fault that can be read")

    def allows(origin: str) -> bool:
        answers = [preflight(direct, posts, origin)[2], ask(direct, "GET", "/", origin)]
        return any(
            answer.headers.get("Access-Control-Allow-Origin") in (origin, "*") for answer in answers
        )

    # Some servers compare without the slash. What proves the fault is that only the text as written is allowed.
    for each in misspelt[:MOST_POSTS]:
        if allows(each.written) and not allows(each.origin):
            report(
                Problem(
                    f"{each.origin} in the list, as the browser sends it",
                    f"{each.written} is allowed, and {each.origin} is not",
                    f"Write {each.origin}.",
                    file=each.file,
                    line=each.line,
                )
            )


def test_shares_no_credentials_with_every_origin(subject: Answering, posts: list[str]) -> None:
    """No answer to an unknown origin carries Access-Control-Allow-Credentials, whether or not the Space lists origins.

    Severity: risk

    On the Hub: any website reads what a signed-in visitor may read

    Fix: Do not combine `*` or an echoed Origin with credentials (for example allow_origins=["*"] with allow_credentials=True).

    Source: measured on hf.space: the edge echoes any Origin.
    """
    found = []
    attacker = "https://attacker.example"
    _, path, answer = preflight(subject, posts, attacker)
    answers = [("OPTIONS", path, answer)]
    for method, path in routes(subject, posts):
        answers.append((method, path, ask(subject, method, path, attacker, Cookie="session=1")))
    for method, path, answer in answers:
        credentials = answer.headers.get("Access-Control-Allow-Credentials")
        if credentials:
            found.append(
                Problem(
                    f"no Access-Control-Allow-Credentials for https://attacker.example on {method} {path}",
                    f"Access-Control-Allow-Credentials: {credentials}",
                )
            )
    require_none(found)


def test_varies_by_origin(space: Space, direct: Answering) -> None:
    """Answers that depend on the Origin carry `Vary: Origin`, whatever the request's origin.

    Severity: risk

    On the Hub: a cache serves one front end's answer to another front end, whose browser refuses it

    Fix: Send `Vary: Origin` on every answer of a Space that lists origins, even if the request has no Origin.

    Source: Fetch standard, "CORS protocol and HTTP caches".
    """
    allowed = allowed_origin(space)
    path = "/health" if direct.get("/health").ok else "/"
    found = []
    for origin in (allowed, "https://attacker.example", None):
        vary = ask(direct, "GET", path, origin).headers.get("Vary", "")
        if "origin" not in [part.strip().lower() for part in vary.split(",")]:
            found.append(
                Problem(
                    f"Vary: Origin on GET {path} from {origin or 'no origin'}",
                    f"Vary: {vary or 'absent'}",
                )
            )
    require_none(found)


def shown(
    kind: str, origin: str, method: str, path: str, answer: requests.Response, listed: bool
) -> dict[str, Any]:
    """An answer, as the run's page shows it."""
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    return {
        "kind": kind,
        "origin": origin,
        "route": f"{method} {path}",
        "status": answer.status_code,
        "readable": allowed in (origin, "*"),
        "listed": listed,
    }


def _granted(request: str, kind: str, origin: str, answer: requests.Response) -> Iterator[Problem]:
    for header in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"):
        if header in answer.headers:
            yield Problem(
                f"no {header} on {request} from {origin} ({kind})",
                f"{header}: {answer.headers[header]}",
            )
