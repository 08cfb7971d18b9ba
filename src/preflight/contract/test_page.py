"""The page: what it loads and requests is there for a visitor, whose browser runs somewhere else."""

from __future__ import annotations

from preflight.contract.findings import not_promised, report, require_none
from preflight.engine.visitor import Visit
from preflight.model.problems import Problem
from preflight.rules.pages import Page, asset_problem, request_problems


def test_assets_are_there(visited: Visit, page: Page) -> None:
    """Each script, stylesheet and icon that the page loads from the Space is answered with its content.

    Severity: breaks

    On the Hub: a white page with status 200; the browser's console shows 404 for the scripts, or
    "Expected a JavaScript module script but the server responded with a MIME type of text/html"

    Fix: Build the front end for the path /, and copy the whole build into the image.

    Source: vite.dev/guide/static-deploy, base; github.com/mjcrepeau/retirement-planner/issues/5.
    """
    if not visited.assets:
        not_promised("the page loads nothing from the Space itself")
    problems = [
        problem
        for asset, answer in visited.assets.items()
        if answer.status and (problem := asset_problem(asset, answer.status, answer.kind))
    ]
    require_none(problems[:8])


def test_requests_reach_the_space(visited: Visit, page: Page) -> None:
    """No request of the page and its scripts goes to localhost, to a private address, to another port, or without TLS.

    Severity: breaks

    On the Hub: the page loads and stays empty, "Failed to fetch": localhost is the visitor's own
    machine, and browsers block http:// and ws:// from an https:// page

    Fix: Request paths without a host, or build addresses from location.origin.

    Source: github.com/666ghj/MiroFish/issues/196; MDN, Mixed content.
    """
    require_none(list(request_problems(visited.requests, visited.host))[:8])


def test_named_paths_answer(visited: Visit) -> None:
    """GET on each path that the page, the README or /openapi.json names ends without a server error.

    Severity: risk

    On the Hub: the Space is "Running" and what it is for answers 500

    Fix: Read the run log at that request: a file that is absent or not readable, a setting that is
    not entered, a service that is out of reach.

    Source: RFC 9110, 15.6.
    """
    if not visited.paths:
        not_promised("neither the page, the README nor /openapi.json names a further path")
    for path, answer in visited.paths.items():
        # 501 and 503 say that something is not offered, or not yet.
        if answer.status >= 500 and answer.status not in (501, 503):
            report(
                Problem(
                    f"a status below 500 for GET {path}, which the Space names itself",
                    f"{answer.status}: {answer.text[:120]}",
                )
            )
