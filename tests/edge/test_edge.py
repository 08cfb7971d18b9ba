"""The rehearsed edge must behave like the Hub's edge, and each of its switches must have an effect."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import websocket

from preflight.engine import install as engine
from preflight.engine.container import Container
from preflight.engine.edge import Edge, ThroughEdge
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB

from .conftest import StartEcho

FRONT = "https://front.vercel.app"
PREFLIGHT = {
    "Origin": FRONT,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "content-type,x-anything",
}
# Leaves out the token of the fixture's requests.
STRANGER: dict[str, str | None] = {"X-HF-Authorization": None}
NOT_RUNNING = "Your space is in error, check its status on hf.co"


def received(answer: requests.Response) -> dict[str, str]:
    """The request headers that reached the Space, lower-cased; several of one name are joined."""
    found: dict[str, str] = {}
    for name, value in answer.json()["headers"]:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


@pytest.fixture(scope="module")
def switched(run: Run, echo: Container) -> Iterator[ThroughEdge]:
    """The echo Space behind an edge with no switch at its default."""
    settings = {
        "HOST_HEADER": "internal",
        "X_FORWARDED_FOR": "replace",
        "X_FORWARDED_PROTO": "off",
        "X_FORWARDED_HOST": "public",
        "AUTHORIZATION": "removed",
        "X_HF_AUTHORIZATION": "kept",
        "RESPONSE_HEADERS": "off",
        "PREFLIGHT": "app",
        "CORS_ORIGIN": "app",
        "REQUEST_TIMEOUT": "500ms",
    }
    with Edge(run, {"echo": echo}, settings) as edge:
        yield edge.space("echo")


@pytest.fixture(scope="module")
def several(run: Run, echo: Container) -> Iterator[Edge]:
    """An edge in front of a private Space that wakes first and is updated afterwards."""
    settings = {"WAKE_SECONDS": "4", "VISIBILITY": "private", "UPDATE": "on"}
    with Edge(run, {"echo": echo}, settings) as edge:
        yield edge


@pytest.fixture(scope="module")
def states(several: Edge) -> ThroughEdge:
    """The echo Space behind it, requested with a token of the Hub."""
    space = several.space("echo")
    space.http.headers["X-HF-Authorization"] = "Bearer hf_x"
    return space


def awake(space: ThroughEdge) -> ThroughEdge:
    """The Space, once it has woken."""
    end = time.monotonic() + 15
    while space.get("/").status_code == 503:
        assert time.monotonic() < end, "the Space does not wake"
        time.sleep(0.1)
    return space


class TestRequests:
    def test_http_2_outside_and_http_1_1_inside(self, edge: Edge, public: ThroughEdge) -> None:
        """The edge must offer HTTP/2 over TLS to browsers, and use HTTP/1.1 to the Space."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection((engine.host(), edge.port), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=public.host) as tls,
        ):
            assert tls.selected_alpn_protocol() == "h2"
        assert public.get("/").json()["version"] == "HTTP/1.1"

    def test_host_is_the_public_one(self, public: ThroughEdge, switched: ThroughEdge) -> None:
        """The Space must see its public host name in `Host`."""
        assert received(public.get("/"))["host"] == f"{HUB.owner}-echo.hf.space"
        assert received(switched.get("/"))["host"] == "echo:7860"

    def test_x_forwarded_for_is_appended_to(
        self, public: ThroughEdge, switched: ThroughEdge
    ) -> None:
        """The caller's X-Forwarded-For must stay, with the caller's address appended."""
        forged = {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
        own = received(public.get("/"))["x-forwarded-for"]
        assert "," not in own
        assert received(public.get("/", headers=forged))["x-forwarded-for"] == (
            f"192.0.2.1, 192.0.2.2, {own}"
        )
        assert received(switched.get("/", headers=forged))["x-forwarded-for"] == own

    def test_x_forwarded_proto_is_https(self, public: ThroughEdge, switched: ThroughEdge) -> None:
        """The Space must receive https, whatever the caller sends."""
        forged = {"X-Forwarded-Proto": "http"}
        assert received(public.get("/", headers=forged))["x-forwarded-proto"] == "https"
        assert "x-forwarded-proto" not in received(switched.get("/", headers=forged))

    def test_x_forwarded_host_is_off(self, public: ThroughEdge, switched: ThroughEdge) -> None:
        """No X-Forwarded-Host may reach the Space: no source says that the Hub sends one."""
        forged = {"X-Forwarded-Host": "attacker.example"}
        assert "x-forwarded-host" not in received(public.get("/", headers=forged))
        named = received(switched.get("/", headers=forged))["x-forwarded-host"]
        assert named == f"{HUB.owner}-echo.hf.space"

    def test_forged_x_real_ip_and_forwarded_pass(self, public: ThroughEdge) -> None:
        """X-Real-IP and Forwarded must reach the Space as the caller sent them: they prove nothing."""
        forged = {"X-Real-IP": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        got = received(public.get("/", headers=forged))
        assert (got["x-real-ip"], got["forwarded"]) == ("192.0.2.1", "for=192.0.2.1")

    def test_authorization_passes_and_x_hf_authorization_does_not(
        self, public: ThroughEdge, switched: ThroughEdge
    ) -> None:
        """`Authorization` must reach the Space; X-HF-Authorization is the edge's own and must not."""
        sent = {"Authorization": "Bearer app", "X-HF-Authorization": "Bearer hub"}
        got = received(public.get("/", headers=sent))
        assert got["authorization"] == "Bearer app"
        assert "x-hf-authorization" not in got
        got = received(switched.get("/", headers=sent))
        assert "authorization" not in got
        assert got["x-hf-authorization"] == "Bearer hub"

    def test_body_method_and_target_pass_unchanged(self, public: ThroughEdge) -> None:
        """Method, path, query and body must reach the Space as they were sent."""
        seen = public.request("PUT", "/a%2Fb?c=%20d&c=2", data=b"x" * 100_000).json()
        assert (seen["method"], seen["path"]) == ("PUT", "/a%2Fb?c=%20d&c=2")
        assert seen["body"] == "x" * 100_000

    @pytest.mark.thorough
    def test_no_answer_is_cut_short_by_its_request(self, public: ThroughEdge) -> None:
        """An immediate answer must arrive whole: an edge that does not buffer requests cuts 1 of 500 short."""

        def whole(_: int) -> bool:
            try:
                answer = public.request("PUT", "/", data=b"x" * 100_000).json()
            except requests.exceptions.ChunkedEncodingError:
                return False
            return len(answer["body"]) == 100_000

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(whole, range(8000)))
        assert all(answers), f"{answers.count(False)} of {len(answers)} ended early"

    def test_unknown_host_names_are_not_served(self, edge: Edge) -> None:
        """A request for an unknown host name must get 404 and reach no Space."""
        for host in ("attacker.example", "other-echo.hf.space", "hf.space"):
            answer = edge.space("echo").get("/", headers={"Host": host})
            assert (answer.status_code, answer.text) == (404, ""), host


class TestAnswers:
    def test_headers_of_the_edge_are_added(
        self, public: ThroughEdge, switched: ThroughEdge
    ) -> None:
        """Each answer must have the headers that the Hub's edge adds."""
        got = public.get("/path?query").headers
        assert got["X-Proxied-Host"].startswith("http://")
        assert got["X-Proxied-Replica"]
        assert got["X-Proxied-Path"] == "/path"
        assert got["X-Request-Id"]
        assert got["Link"] == (f'<https://huggingface.co/spaces/{HUB.owner}/echo>;rel="canonical"')
        assert (
            got["Vary"] == "origin, access-control-request-method, access-control-request-headers"
        )
        assert got["Access-Control-Expose-Headers"] == "*"
        added = {"X-Proxied-Host", "X-Request-Id", "Link", "Access-Control-Expose-Headers", "Vary"}
        assert not added & set(switched.get("/").headers)

    def test_headers_of_the_app_stay(self, public: ThroughEdge) -> None:
        """The app's headers must reach the browser, even if they break the frame on the Space's page."""
        said = {
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "frame-ancestors 'none'",
            "Vary": "Accept",
            "Link": "</style.css>;rel=preload",
            "X-Request-Id": "of-the-app",
            "Access-Control-Allow-Credentials": "true",
        }
        got = public.get("/headers", params=said, headers={"Origin": FRONT}).headers
        for name, value in said.items():
            assert value in got[name].split(", "), name
        assert got["X-Request-Id"] == "of-the-app"

    def test_any_origin_is_echoed(self, public: ThroughEdge, switched: ThroughEdge) -> None:
        """Access-Control-Allow-Origin must name any Origin, once, and replace the app's header."""
        for origin in (FRONT, "https://attacker.example", "null"):
            answer = public.get("/", headers={"Origin": origin})
            assert answer.headers["Access-Control-Allow-Origin"] == origin
        said = {"Access-Control-Allow-Origin": "https://only.example"}
        answer = public.get("/headers", params=said, headers={"Origin": FRONT})
        assert answer.headers["Access-Control-Allow-Origin"] == FRONT
        assert "Access-Control-Allow-Origin" not in public.get("/").headers
        answer = switched.get("/headers", params=said, headers={"Origin": FRONT})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://only.example"

    def test_a_preflight_request_is_answered_by_the_edge(
        self, public: ThroughEdge, switched: ThroughEdge
    ) -> None:
        """The edge must grant any preflight request itself, never with credentials."""
        answer = public.options("/", headers=PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == FRONT
        assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
        assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-anything"
        assert answer.headers["Access-Control-Max-Age"] == "600"
        assert answer.headers["Content-Length"] == "0"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        asked_of_the_app = switched.options("/", headers=PREFLIGHT).json()
        assert asked_of_the_app["method"] == "OPTIONS"

    def test_any_other_options_request_reaches_the_space(self, public: ThroughEdge) -> None:
        """OPTIONS without Origin or requested method must reach the Space: it is not a preflight request."""
        for missing in ("Origin", "Access-Control-Request-Method"):
            sent = {name: value for name, value in PREFLIGHT.items() if name != missing}
            assert public.options("/", headers=sent).json()["method"] == "OPTIONS"

    @pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
    def test_a_stream_is_not_held_back(self, public: ThroughEdge, kind: str) -> None:
        """The first part of a stream must arrive before the Space sends the second."""
        with public.get("/stream", params={"type": kind}, stream=True, timeout=5) as answer:
            lines = answer.iter_lines(chunk_size=1)
            assert next(lines) == b"data: 1"
            # The Space sends the second part only after this request.
            public.get("/arrived")
            assert [line for line in lines if line] == [b"data: 2"]

    def test_a_websocket_passes(self, edge: Edge, public: ThroughEdge) -> None:
        """A WebSocket must be upgraded and carry frames both ways."""
        connection = websocket.create_connection(
            f"wss://{engine.host()}:{edge.port}/websocket",
            host=public.host,
            timeout=5,
            sslopt={
                "cert_reqs": ssl.CERT_NONE,
                "check_hostname": False,
                "server_hostname": public.host,
            },
        )
        for text in ("first", "second"):
            connection.send(text)
            assert connection.recv() == text
        connection.close()

    def test_request_timeout_is_off(self, public: ThroughEdge, switched: ThroughEdge) -> None:
        """A slow answer must arrive; with REQUEST_TIMEOUT the edge must give up with 504."""
        assert public.get("/slow", params={"seconds": "0.8"}).status_code == 200
        assert switched.get("/slow", params={"seconds": "0.8"}).status_code == 504


class TestStates:
    def test_a_space_that_does_not_run(self, edge: Edge) -> None:
        """Without a listening Space the edge must answer 503 with the Hub's text."""
        answer = edge.space("nothing").get("/")
        assert (answer.status_code, answer.text) == (503, NOT_RUNNING)

    def test_a_space_that_wakes(self, states: ThroughEdge) -> None:
        """The edge must answer 503 with the Hub's text for WAKE_SECONDS, and then pass to the Space."""
        asleep = states.get("/")
        assert (asleep.status_code, asleep.text) == (503, NOT_RUNNING)
        assert awake(states).get("/").json()["replica"] == "old"

    def test_a_private_space_asks_for_a_token(self, states: ThroughEdge) -> None:
        """The edge of a private Space must refuse strangers and accept a token of the Hub, in either header."""
        space = awake(states)
        refused = space.get("/", headers=STRANGER)
        assert refused.status_code == 401
        with pytest.raises(json.JSONDecodeError):
            json.loads(refused.text)
        for header in ("Authorization", "X-HF-Authorization"):
            assert space.get("/", headers={**STRANGER, header: "Bearer hf_x"}).status_code == 200

    def test_an_update_leaves_no_gap(
        self, several: Edge, states: ThroughEdge, start_echo: StartEcho
    ) -> None:
        """The old replica must serve until the new one listens, then only the new one, without a failed request."""
        space = awake(states)
        new = start_echo(REPLICA="new", START_AFTER="SIGUSR1")
        several.add("echo-new", new)
        replicas: list[str] = []
        end = time.monotonic() + 15
        while replicas[-5:] != ["new"] * 5:
            assert time.monotonic() < end, f"the new replica does not take over: {replicas}"
            if len(replicas) >= 5 and replicas[-1] == "old":
                # Sent again each time: a process that does not wait for the signal yet drops it.
                new.signal("SIGUSR1")
            answer = space.get("/")
            assert answer.status_code == 200, answer.text
            replicas.append(answer.json()["replica"])
            time.sleep(0.02)
        assert replicas == sorted(replicas, reverse=True), "the edge went back to the old replica"
        assert replicas[:5] == ["old"] * 5
