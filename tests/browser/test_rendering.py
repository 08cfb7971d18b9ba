"""`--browser` must find what a visitor would notice: a blank page, an error, a lost request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.selftest.cases import Broken
from tests.selftest.test_selftest import judge
from tests.selftest.visitor_cases import page

CHECK = "page.renders_in_the_frame"
HEAD = "<!doctype html><title>T</title>"
EMPTY = f'{HEAD}<div id="root"></div><script src="/app.js"></script>'
SPACES = {
    "draws": (page(EMPTY, app_js=("text/javascript", 'root.innerHTML = "<p>Drawn.</p>"')), []),
    "stays-blank": (page(EMPTY, app_js=("text/javascript", "1")), ["breaks"]),
    # The script computes the address, so that a parser of scripts would not find it.
    "asks-this-machine": (
        page(
            f'{HEAD}<p>Hello.<script>fetch(atob("aHR0cDovL2xvY2FsaG9zdDo4MDAwLw==")).catch(() => 0)</script>'
        ),
        ["breaks"],
    ),
    "throws-beside-its-text": (page(f"{HEAD}<p>Hello.<script>absent.go()</script>"), ["risk"]),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The findings of the check on each Space, from one run."""
    cases = [
        Broken(name, CHECK, needs="container", base="visited", files=files)
        for name, (files, _) in SPACES.items()
    ]
    checks = ["src/preflight/contract/test_page.py", "--browser"]
    records = judge(cases, tmp_path_factory.mktemp("rendered"), checks, 300)
    return {
        name: [finding for record in own if record["id"] == CHECK for finding in record["findings"]]
        for name, own in records.items()
    }


@pytest.mark.parametrize("name", SPACES)
def test_a_page_is_judged_by_what_a_browser_makes_of_it(
    name: str, found: dict[str, list[dict[str, Any]]]
) -> None:
    """A blank page and a request to the visitor's machine must break; an error beside text must be a risk."""
    assert [finding["severity"] for finding in found[name]] == SPACES[name][1], found[name]
