"""The edge: under its public name, over TLS and behind a proxy, the Space behaves as at its own port."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin, urlsplit

import pytest

from preflight.contract.findings import not_promised, report, require_none, show
from preflight.engine import proxied
from preflight.engine.answering import Answering
from preflight.engine.container import Container
from preflight.engine.forms import origin_problems
from preflight.engine.proxied import Refused
from preflight.engine.visitor import Answer, Visit, ask
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space
from preflight.rules.cookies import unsent_problems
from preflight.rules.redirects import (
    address_problems,
    callback_problem,
    redirect_problem,
)
from preflight.rules.sources import Sources

SIGN_IN_PATHS = (
    "/login",
    "/auth/login",
    "/login/huggingface",
    "/oauth/huggingface/login",
    "/oauth/login",
)
MOST = 12


# A live Space gets requests only under its public name.
@pytest.mark.usefixtures("container")
def test_answers_the_public_name(
    visited: Visit, refused: list[Refused], host_refusal: str, front_page: str
) -> None:
    """Requests for the Space's public host name get the answer that localhost gets.

    Severity: breaks

    On the Hub: the Space is "Running" and each visitor gets 400, 403, 404 or 421: "Invalid Host
    header", "Blocked request. This host is not allowed", "DisallowedHost"

    Fix: Add the public name to the list of allowed hosts: SPACE_HOST holds it at run time.

    Source: github.com/modelcontextprotocol/python-sdk/issues/1798; vite.dev server.allowedHosts;
    Django settings ALLOWED_HOSTS; observed: the edge passes OWNER-NAME.hf.space as Host.
    """
    if refused:
        shown = "\n".join(
            f"GET {pair.path} answers {pair.public.outcome} for Host: {visited.host}, and {pair.local.outcome} "
            f"for Host: {pair.local_host}"
            for pair in refused[:2]
        )
        if said := refused[0].public.said:
            shown += f"\nthe answer says: {said}"
        # A path that neither the page nor the README names may be intentionally local: /admin.
        named = {front_page, *visited.paths}
        meant = any(pair.path in named or pair.public.status == 421 for pair in refused)
        expected = f"the same answer for Host: {visited.host} as for Host: localhost"
        require_none(
            [Problem(expected, shown, severity=Severity.BREAKS if meant else Severity.ADVICE)]
        )
    if host_refusal:
        require_none(
            [
                Problem(
                    f"an answer for Host: {visited.host}",
                    f"GET {front_page} answers {visited.front.outcome} for Host: {visited.host}: {host_refusal}",
                )
            ]
        )


def test_redirects_to_public_addresses(
    visited: Visit, posted: dict[str, Answer], subject: Answering
) -> None:
    """Redirects of the front page and of paths that the Space names lead to https:// addresses that visitors can reach.

    Severity: breaks

    On the Hub: a blank frame, "Mixed Content" in the browser's console, or "redirected you too many
    times": the server takes the scheme from its own socket, but TLS ends at the edge

    Fix: Trust the edge's headers: uvicorn --proxy-headers --forwarded-allow-ips='*', Flask ProxyFix,
    Django SECURE_PROXY_SSL_HEADER, Express app.set('trust proxy', 1).

    Source: huggingface_hub _oauth.py, "In Space, FastAPI redirect as http but we want https";
    uvicorn settings, forwarded-allow-ips: 127.0.0.1 by default.
    """
    public = f"https://{visited.host}/"
    require_none(
        problem
        for hop in visited.hops
        if 300 <= hop.status < 400
        and (problem := redirect_problem(hop.url, hop.header("Location")))
    )
    # A path that the page requests breaks the page; a path that is only documented is a risk.
    requested = set(visited.requested("fetch"))
    slashed = {
        operation.path.rstrip("/")
        for operation in visited.documented
        if operation.path.rstrip("/") != operation.path
    }
    answers = dict(visited.paths)
    for path in list(slashed - set(answers) - {""})[:MOST]:
        answers[path] = ask(subject, path, None, "GET", public)
    for path, answer in (*answers.items(), *posted.items()):
        if 300 <= answer.status < 400:
            severity = Severity.BREAKS if path in requested else Severity.RISK
            problem = redirect_problem(urljoin(public, path), answer.header("Location"), severity)
            if problem:
                report(problem)


def test_names_public_addresses(visited: Visit) -> None:
    """The canonical link, the page's links and `servers` in /openapi.json use https:// and the Space's public name.

    Severity: risk

    On the Hub: links lead to http:// or to an internal host; "Try it out" in /docs fails

    Fix: Build addresses without scheme and host, or trust X-Forwarded-Proto; see
    edge.redirects_to_public_addresses.

    Source: huggingface_hub _oauth.py; browsers' rules on mixed content (MDN, Mixed content).
    """
    named = [("a server in /openapi.json", server) for server in visited.servers]
    if visited.page:
        if visited.page.canonical:
            named.append(("the canonical link", visited.page.canonical))
        links = [(url, line) for url, line in visited.page.links if urlsplit(url).scheme == "http"]
        named += [(f"the link in line {line} of the page", url) for url, line in links]
    require_none(list(address_problems(named, visited.host))[:5])


def test_trusts_the_forwarded_headers(
    visited: Visit, container: Container, direct: Answering, sources: Sources
) -> None:
    """Behind the edge, the Space prints no warning about forwarded headers, sends its secure cookies, and each visitor has a separate rate limit.

    Severity: risk

    On the Hub: ERR_ERL_UNEXPECTED_X_FORWARDED_FOR in the log; after the first busy minute all
    visitors get 429, because all share the edge's address

    Fix: Trust one proxy, which adds the last entry of X-Forwarded-For: Express app.set('trust proxy',
    1); Flask ProxyFix(x_for=1); uvicorn --proxy-headers --forwarded-allow-ips='*'.

    Source: express-rate-limit.mintlify.app, error codes; observed: the edge appends the visitor's
    address to X-Forwarded-For.
    """
    require_none(proxied.header_alarms(container.logs()))
    if not visited.front.header("Set-Cookie"):
        require_none(unsent_problems(sources.running))
    require_none(proxied.shared_limit(direct, container.logs, list(visited.paths)))


def test_accepts_posts_of_its_own_page(
    visited: Visit, posted: dict[str, Answer], subject: Answering
) -> None:
    """The Space accepts forms and requests of its own page, whose origin is the public https:// address.

    Severity: breaks

    On the Hub: the page loads, and each form or sign-in fails with 403: "Origin checking failed",
    "Cross-site POST form submissions are forbidden", "HTTP Origin header didn't match"

    Fix: Trust X-Forwarded-Proto, or name the public address: Django CSRF_TRUSTED_ORIGINS and
    SECURE_PROXY_SSL_HEADER; SvelteKit ORIGIN=https://OWNER-NAME.hf.space; Rails config.assume_ssl = true.

    Source: docs.djangoproject.com, CSRF_TRUSTED_ORIGINS; svelte.dev/docs/kit/adapter-node, ORIGIN;
    api.rubyonrails.org, ActionController::RequestForgeryProtection.
    """
    if not posted:
        not_promised("neither the page nor /openapi.json names a POST")
    sent = {path: visited.posts[path].summary for path in posted}
    show("posted", *({"path": p, "content": sent[p], "status": posted[p].status} for p in posted))
    require_none(origin_problems(subject, visited, posted))


def test_streams_events_as_they_happen(
    visited: Visit, posted: dict[str, Answer], subject: Answering
) -> None:
    """Each event stream that the page or /openapi.json names, by GET or POST, sends its first event before its last, even if the browser accepts gzip.

    Severity: risk

    On the Hub: the answer stays empty and then arrives all at once; a long answer ends with 504

    Fix: Flush each event when it happens, and exclude text/event-stream from compression.

    Source: HTML Living Standard, 9.2 Server-sent events; expressjs/compression README, Server-Sent
    Events.
    """
    documented = [
        operation.path
        for operation in visited.documented
        if operation.streams and operation.harmless
    ]
    named = [path for path, answer in visited.paths.items() if answer.kind == "text/event-stream"]
    paths = dict.fromkeys([*documented, *visited.requested("EventSource"), *named])
    bodies = {
        path: visited.posts[path].body
        for path, answer in posted.items()
        if answer.kind == "text/event-stream" and visited.posts[path].body is not None
    }
    if not paths and not bodies:
        not_promised("neither the page nor /openapi.json names an event stream")
    with ThreadPoolExecutor(4) as pool:
        probes = [
            pool.submit(proxied.stream_problems, subject, path, bodies.get(path))
            for path in dict.fromkeys([*bodies, *paths])
        ]
        require_none(problem for probe in probes[:4] for problem in probe.result())


def test_opens_websockets_to_its_own_page(visited: Visit, subject: Answering) -> None:
    """The Space accepts WebSockets that its page opens, from the page's public origin.

    Severity: breaks

    On the Hub: the page loads, but never updates: "WebSocket connection failed", 403

    Fix: Add "https://" + SPACE_HOST to the allowed origins (Streamlit: server.enableCORS = false;
    Rails: config.action_cable.allowed_request_origins; Socket.IO: cors.origin).

    Source: RFC 6455, 10.2; docs.streamlit.io, server.enableCORS.
    """
    paths = visited.requested("WebSocket", "ReconnectingWebSocket")
    if not paths:
        not_promised("the page opens no WebSocket with a readable path")
    require_none(
        problem
        for path in paths[:4]
        if (problem := proxied.websocket_problem(subject, path, visited.host))
    )


def test_signs_in_by_the_public_address(space: Space, visited: Visit, subject: Answering) -> None:
    """If the Space redirects a visitor to another site to sign in, the callback is the Space's public https:// address.

    Severity: breaks

    On the Hub: "redirect_uri mismatch" or "Invalid redirect URI": no visitor can sign in

    Fix: Build the callback from SPACE_HOST, or trust X-Forwarded-Proto and Host.

    Source: hub-docs spaces-oauth.md, the redirect URI is https://{SPACE_HOST}/…; huggingface_hub
    _oauth.py.
    """
    public = f"https://{visited.host}/"
    known = [
        path for path in visited.paths if any(word in path for word in ("login", "auth", "signin"))
    ]
    paths = list(dict.fromkeys([*known, *SIGN_IN_PATHS]))[:MOST]
    with ThreadPoolExecutor(4) as pool:
        answers = dict(
            zip(
                paths,
                pool.map(lambda path: ask(subject, path, None, "GET", public), paths),
                strict=True,
            )
        )
    leaving = {
        path: answer
        for path, answer in answers.items()
        if 300 <= answer.status < 400
        and urlsplit(answer.header("Location")).netloc not in ("", visited.host)
    }
    # Auth.js lists its callbacks here. Source: authjs.dev, REST API.
    listed = ask(subject, "/api/auth/providers", None, "GET", public)
    callbacks = re.findall(r'"(callbackUrl|signinUrl)"\s*:\s*"([^"]+)"', listed.text)
    if not leaving and not callbacks:
        not_promised("no known path redirects a visitor to another site to sign in")
    named = [(f"the {name} in /api/auth/providers", address) for name, address in callbacks]
    require_none(list(address_problems(named, visited.host))[:2])
    require_none(
        problem
        for path, answer in leaving.items()
        if (problem := callback_problem(urljoin(public, path), answer.header("Location")))
    )
