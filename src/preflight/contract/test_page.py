"""The page: a visitor's browser, on another machine, can load everything that the page requests."""

from __future__ import annotations

import pytest

from preflight.contract.findings import material, not_promised, report, require_none, show
from preflight.engine.answering import Answering
from preflight.engine.diagnosis import failed_request, lacking
from preflight.engine.edge import AtThePort, ThroughEdge
from preflight.engine.image import Image
from preflight.engine.rendering import Rendered, render
from preflight.engine.run import Run
from preflight.engine.start import Start, start
from preflight.engine.visitor import Visit, ask
from preflight.model.hub_profile import HUB
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space
from preflight.rules.assets import asset_problems
from preflight.rules.frame import frame_problems
from preflight.rules.pages import Page, request_problems


def test_assets_are_there(visited: Visit, page: Page) -> None:
    """The Space answers each request for a file that the page, its stylesheets or its modules name with the file's content.

    Severity: breaks

    On the Hub: a white page with status 200; the browser's console shows 404 for scripts, or
    "Expected a JavaScript module script but the server responded with a MIME type of text/html"

    Fix: Build the front end for the path /, and copy the complete build into the image.

    Source: vite.dev/guide/static-deploy, base; github.com/mjcrepeau/retirement-planner/issues/5.
    """
    if not visited.assets:
        not_promised("the page loads nothing from the Space itself")
    came = {
        asset: (answer.status, answer.kind)
        for asset, answer in visited.assets.items()
        if answer.status
    }
    require_none(asset_problems(came)[:8])


def test_requests_reach_the_space(visited: Visit, page: Page) -> None:
    """No request of the page or its scripts goes to localhost, to a private address, to another port, or without TLS.

    Severity: breaks

    On the Hub: the page loads, but stays empty, "Failed to fetch": localhost is the visitor's
    machine, and browsers block http:// and ws:// on an https:// page

    Fix: Request paths without a host, or build addresses from location.origin.

    Source: github.com/666ghj/MiroFish/issues/196; MDN, Mixed content.
    """
    require_none(list(request_problems(visited.requests, visited.host))[:8])


def test_named_paths_answer(
    request: pytest.FixtureRequest, space: Space, visited: Visit, started: Start
) -> None:
    """GET of each path that the page, the README or /openapi.json names gets no server error.

    Severity: risk

    On the Hub: the Space is "Running", but its main functions answer 500

    Fix: Look in the run log at that request for an absent or unreadable file, a missing setting or
    an unreachable service.

    Source: RFC 9110, 15.6.
    """
    if not visited.paths:
        not_promised("neither the page, the README nor /openapi.json names another path")
    # 501 and 503 mean: not implemented, or not yet available.
    failed = {
        path: answer
        for path, answer in visited.paths.items()
        if answer.status >= 500 and answer.status not in (501, 503)
    }
    if not failed:
        return
    as_root: dict[str, int] = {}
    lacks = lacking(started.container, space.folder) if started.container else None
    if started.container and not lacks:
        run, image = request.getfixturevalue("run"), request.getfixturevalue("image")
        as_root = answers_as_root(run, space, image, list(failed))
    for path, answer in failed.items():
        expected = f"a status below 500 for GET {path}, which the Space names itself"
        seen = f"GET {path} answers {answer.status}: {answer.text[:120]}"
        if lacks:
            report(Problem(expected, f"{seen}; {lacks[0]}", lacks[1], severity=Severity.ADVICE))
        elif 0 < as_root.get(path, 0) < 400:
            report(
                Problem(
                    expected,
                    f"{seen}; with --user=0, as root, it answers {as_root[path]}: the app's user can't "
                    "read or write a file that root can, or looks for it in another home",
                    "Make the app's user the owner of the file, or create it after USER. The home of root is /root.",
                    severity=Severity.BREAKS,
                )
            )
        else:
            logged, fix = failed_request(started.container) if started.container else ("", None)
            report(Problem(expected, f"{seen}{logged}", fix))


def answers_as_root(run: Run, space: Space, image: Image, paths: list[str]) -> dict[str, int]:
    """The Space's status for GET of each of `paths` if it runs as root; empty if root is its user anyway."""
    user = str(image.config.get("User") or "").partition(":")[0]
    if user in ("", "0", "root"):
        return {}
    as_root = start(run, space, image, options=["--user=0"], observed=False)
    if as_root.container is None:
        return {}
    with as_root.container as container:
        if as_root.failure:
            return {}
        port = AtThePort(container)
        return {path: ask(port, path).status for path in paths}


def test_renders_in_the_frame(
    request: pytest.FixtureRequest,
    visited: Visit,
    page: Page,
    subject: Answering,
    front_page: str,
) -> None:
    """In a browser, in a frame on huggingface.co, the page is not blank, throws no error, and gets an answer to each request.

    Severity: breaks

    On the Hub: a white frame, or a page that stays incomplete; the browser's console shows the cause

    Fix: Look at the screenshot of this run, then open the page with the browser's console.

    Source: hub-docs spaces-embed.md; Playwright, with this machine's Chromium.
    """
    if not request.config.getoption("--browser"):
        pytest.skip("renders the page only with --browser")
    if not isinstance(subject, ThroughEdge):
        pytest.skip("needs the rehearsed edge: open a live page by hand")
    if any(frame_problems(visited.front.headers, front_page)):
        pytest.skip("not checked: the frame stays blank, see frame.lets_the_hub_show_the_page")
    run: Run = request.getfixturevalue("run")
    # Outside the run's folder, which a run without findings removes.
    screenshot = run.folder.parent / "screenshots" / f"{subject.name.replace('/', '-')}.png"
    found = render(subject, front_page, HUB.owner, screenshot)
    material(screenshot)
    show("rendered", {"screenshot": str(screenshot), "blank": found.blank})
    require_none(rendered_problems(found))


def rendered_problems(found: Rendered) -> list[Problem]:
    """The faults that a visitor would see."""
    problems = []
    if found.blank:
        problems.append(Problem("a page with visible content", "the frame is blank"))
    if found.local:
        shown = ", ".join(dict.fromkeys(found.local[:3]))
        problems.append(
            Problem(
                "requests from the page to the Space's own address",
                f"the page requests {shown}: the visitor's own machine or network",
            )
        )
    milder = Severity.BREAKS if found.blank else Severity.RISK
    if found.errors:
        problems.append(Problem("no uncaught error", "; ".join(found.errors[:3]), severity=milder))
    if found.failed:
        shown = "; ".join(dict.fromkeys(found.failed[:3]))
        problems.append(Problem("an answer to each request of the page", shown, severity=milder))
    return problems
