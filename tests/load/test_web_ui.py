"""Locust's web UI must offer the targets in its form and show the verdict in a tab."""

import os
import re
from typing import Any

import pytest
import requests
from playwright.sync_api import Playwright, expect

from preflight.engine.browser import ensure
from tests.cli.documents import typed
from tests.waiting import eventually

from .conftest import Bench, free_port, wait_for


@pytest.fixture
def web_ui(bench: Bench) -> str:
    """The URL of Locust's web UI, once it is ready."""
    port, command = free_port(), typed("locust -f loadtests").split()
    locust = bench.start(
        *command[1:], "--web-host", "127.0.0.1", "--web-port", port, "--slo", bench.slo()
    )
    wait_for(locust, "Starting web interface")
    url = f"http://127.0.0.1:{port}"
    eventually("the web UI", 10, lambda: answers(url))
    return url


def test_a_run_from_the_form_must_show_its_verdict(web_ui: str, bench: Bench) -> None:
    _, py, _, node, *_ = bench.stub()
    page = requests.get(web_ui, timeout=5).text
    for option in ("backend_py", "backend_node", "origin"):
        assert f'"{option}"' in page
    form = {"user_count": 6, "spawn_rate": 6, "run_time": "5s"}
    form |= {"backend_py": py, "backend_node": node}
    assert requests.post(f"{web_ui}/swarm", data=form, timeout=5).json()["success"]

    eventually("a second of load", 10, lambda: verdict(web_ui)["seconds"] > 1)
    assert {table["key"] for table in stats(web_ui)["extended_stats"]} == {"verdict"}
    eventually("the end of the run", 20, lambda: stats(web_ui)["state"] == "stopped")
    assert verdict(web_ui)["verdict"] == "held", verdict(web_ui)["reasons"]
    headline, *rows = stats(web_ui)["extended_stats"][0]["data"]
    assert headline["request"].startswith("held (exit code 0)")
    assert {row["verdict"] for row in rows} == {"held"}


def test_the_form_must_have_enough_people_and_no_unused_field(
    web_ui: str, playwright: Playwright
) -> None:
    """The form must start with ten people and hide Host: people of a named Space don't read it."""
    browser = playwright.chromium.launch(executable_path=ensure(), args=["--no-sandbox"])
    page = browser.new_page()
    page.goto(web_ui)
    for field in (re.compile("^Number of users"), re.compile("^Ramp up")):
        expect(page.get_by_role("textbox", name=field)).to_have_value("10")
    expect(page.locator('input[name="host"]')).to_have_count(1)
    expect(page.locator('input[name="host"]')).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
    browser.close()


def test_a_run_without_a_target_must_say_so(bench: Bench) -> None:
    port = free_port()
    os.environ["COMPOSE_PROJECT_NAME"] = "load-of-nothing"
    try:
        locust = bench.start("--web-host", "127.0.0.1", "--web-port", port, "--slo", bench.slo())
    finally:
        del os.environ["COMPOSE_PROJECT_NAME"]
    wait_for(locust, "Starting web interface")
    url = f"http://127.0.0.1:{port}"
    eventually("the web UI", 20, lambda: answers(url))
    form = {"user_count": 6, "spawn_rate": 6, "run_time": "5s"}
    requests.post(f"{url}/swarm", data=form, timeout=5)
    eventually("the verdict invalid", 20, lambda: verdict(url)["verdict"] == "invalid")
    assert "so there is nothing to load" in verdict(url)["reasons"][0]


def stats(web_ui: str) -> Any:
    return requests.get(f"{web_ui}/stats/requests", timeout=5).json()


def verdict(web_ui: str) -> Any:
    return requests.get(f"{web_ui}/verdict", timeout=5).json()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
