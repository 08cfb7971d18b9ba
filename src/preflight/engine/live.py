"""A Space on the Hub or elsewhere: only its URL is known, and it has other users."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from preflight.engine import diagnosis
from preflight.engine.answering import Answering, NoAnswer
from preflight.engine.diagnosis import Diagnosis, Kind
from preflight.engine.edge import Named
from preflight.engine.start import Start
from preflight.engine.waiting import NotYet, Overdue, wait_until
from preflight.model.hub_profile import HUB

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing. Source: RFC 9110, 9.2.1."""
MOST_REQUESTS = 60
LEAST_SECONDS_BETWEEN = 0.2


class NotSent(Exception):
    """A request was not sent to a live Space; the message has the reason and the option that sends it."""


class Live(Answering):
    """A Space at its URL. It gets only safe methods, at most 60 requests, 5 per second.

    writes: any method, as often as the checks need.
    """

    def __init__(self, name: str, url: str, writes: bool = False) -> None:
        super().__init__(name)
        self.url = url
        self.safe_only = not writes
        self.sent = 0
        self._last = 0.0
        self._turn = threading.Lock()
        self.http.trust_env = True
        parts = urlsplit(url)
        self.host = host = parts.hostname or ""
        if host.endswith(".localhost") and parts.scheme == "https":
            # Such names mean this machine (RFC 6761), but not every resolver knows them. The rehearsed
            # edge signs its certificates itself; no other machine can read loopback traffic.
            self.url = f"https://127.0.0.1:{parts.port or 443}"
            self.http.headers["Host"] = parts.netloc
            self.http.mount("https://", Named(host))
            self.http.trust_env = self.http.verify = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        token = os.environ.get("HF_TOKEN")
        if token and host.endswith((".hf.space", ".hf.localhost")) and parts.scheme == "https":
            # The edge reads this header and removes it; `Authorization` would reach the app.
            # Source: hf-mcp-server pull request 249.
            self.http.headers["X-HF-Authorization"] = f"Bearer {token}"

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """`Answering.request`, within the limits of a live Space. Raises NotSent."""
        if self.safe_only:
            if method.upper() not in SAFE:
                raise NotSent(
                    f"{method} {path} could change what a live Space holds: --live-writes sends it"
                )
            self._take_turn()
        return super().request(method, path, **options)

    def _take_turn(self) -> None:
        # Requests of several threads are serialized.
        with self._turn:
            if self.sent >= MOST_REQUESTS:
                raise NotSent(
                    f"a live Space is sent at most {MOST_REQUESTS} requests: --live-writes sends more"
                )
            time.sleep(max(0.0, self._last + LEAST_SECONDS_BETWEEN - time.monotonic()))
            self._last = time.monotonic()
            self.sent += 1


def wake(live: Live) -> Start:
    """Send requests until the answer's status is below 500: a sleeping Space is woken by a request."""
    began = time.monotonic()
    if problem := _no_such_host(live.host):
        fix = "correct the URL: a Space answers at https://OWNER-NAME.hf.space"
        return Start(live, 0, Diagnosis(Kind.NO_ANSWER, problem, "404, or no page at all", fix))

    def look() -> Start:
        try:
            answer = live.get(HUB.readiness_path, timeout=30)
        except NoAnswer as error:
            raise NotYet(str(error)) from None
        if answer.status_code >= 500:
            raise NotYet(f"status {answer.status_code}: {answer.text[:200]}")
        return Start(live, time.monotonic() - began)

    try:
        # As often as a waiting visitor would reload; more would be a load test.
        return wait_until(
            f"{live.name}: waits for {live.url}",
            HUB.wake_deadline,
            look,
            pause=lambda waited: min(max(2, waited / 10), 10),
        )
    except Overdue as overdue:
        actual = (
            f"{live.url} does not answer within {HUB.wake_deadline:g} s; last seen: {overdue.seen}"
        )
        fix = "look at the Space's run log on the Hub: hf spaces logs OWNER/NAME"
        failure = Diagnosis(Kind.NO_ANSWER, actual, diagnosis.TIMED_OUT, fix)
        return Start(live, overdue.seconds, failure)


def _no_such_host(host: str) -> str:
    """Why a host name can't be resolved; empty when it can, or when a proxy resolves it."""
    if host.endswith(".localhost") or requests.utils.get_environ_proxies(f"https://{host}"):
        return ""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return f"the host name {host} cannot be resolved: {error.strerror}"
    return ""
