"""Three sites that are cross-site to each other, in a real browser: a front end and two Spaces.

The browser resolves the real names to this machine, so that the Public Suffix List applies as it
does on the Hub: https://front.vercel.app, https://acme-backend-py.hf.space and so on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright

from preflight.engine import browser as installed
from preflight.engine import install as engine
from preflight.engine.container import Container, SpaceContainer
from preflight.engine.docker import docker
from preflight.engine.edge import Edge
from preflight.engine.image import build_own, build_space
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB
from preflight.model.space import Space
from preflight.pytest_plugin.running import failed

HERE = Path(__file__).parent
FRONTEND_MD = HERE.parents[1] / "docs" / "frontend.md"
FRONT = "https://front.vercel.app"
HUB_PAGE = "https://huggingface.co"
ATTACKER = "https://attacker.example"
ACCOUNTS = {
    "BETTER_AUTH_SECRET": "only-for-the-browser-tests-0123456789abcdef",
    "DATABASE_URL": "sqlite:/home/node/auth.db",
    "CORS_ORIGINS": FRONT,
}


@dataclass(frozen=True)
class Sites:
    """The running Spaces, the edge in front of them, and the host of the other sites."""

    backend_py: Container
    # With cookies for front ends on other sites.
    backend_node: Container
    edge: Edge
    front_port: int

    @property
    def resolver_rules(self) -> str:
        """The address of each site for the browser."""
        here = engine.host()
        others = ", ".join(
            f"MAP {site.removeprefix('https://')} {here}:{self.front_port}"
            for site in (FRONT, HUB_PAGE, ATTACKER)
        )
        return f"MAP *.hf.space {here}:{self.edge.port}, {others}"


@pytest.fixture(scope="session")
def sites(run: Run, own_spaces: dict[str, Space]) -> Iterator[Sites]:
    def begin(service: str, name: str, environment: dict[str, str]) -> Container:
        given = {**HUB.environment(name, name), **environment}
        return SpaceContainer.start(run, build_space(run, own_spaces[service]), name, given)

    spaces = {
        "backend-py": begin(
            "backend-py",
            "backend-py",
            {"RAG_MODE": "embedded", "CORS_ORIGINS": FRONT, "RATE_PER_MINUTE": "0"},
        ),
        "backend-node": begin(
            "backend-node", "backend-node", {**ACCOUNTS, "COOKIE_MODE": "cross-site"}
        ),
        # The same Space, for a front end whose host forwards requests to it.
        "backend-node-forwarded": begin(
            "backend-node",
            "backend-node-forwarded",
            {**ACCOUNTS, "CORS_ORIGINS": "", "BETTER_AUTH_URL": FRONT},
        ),
    }
    folder = HERE / "front"
    image = build_own(run, "front", folder)
    with Edge(run, spaces) as edge:
        container = SpaceContainer.start(
            run,
            image,
            "front",
            {"FORWARD_TO": HUB.host("backend-node-forwarded")},
            443,
            ["--user=0"],
        )
        docker("network", "connect", edge.network, container.id)
        for space in spaces.values():
            space.wait_until_serving("/ready", status=200)
        port = int(container.url.rpartition(":")[2])
        yield Sites(spaces["backend-py"], spaces["backend-node"], edge, port)
        for running in (container, *spaces.values()):
            running.save(run.folder)
            running.remove()


@pytest.fixture(scope="session")
def chromium(run: Run, playwright: Playwright, sites: Sites) -> Iterator[Browser]:
    """The machine's Chromium, which resolves the sites' names to this machine."""
    rules = f"--host-resolver-rules={sites.resolver_rules}"
    with launch(run, playwright, rules) as started:
        yield started


@pytest.fixture(scope="session")
def plain_chromium(run: Run, playwright: Playwright) -> Iterator[Browser]:
    """The same Chromium without the sites, for pages that need none."""
    with launch(run, playwright) as started:
        yield started


def launch(run: Run, playwright: Playwright, *further: str) -> Browser:
    return playwright.chromium.launch(
        executable_path=installed.steady(run.folder),
        env={**os.environ, "PROGRAM": run.once("chromium", installed.ensure)},
        args=[
            "--no-sandbox",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # The last list takes effect: Playwright's own list turns off the partitioning of storage.
            "--disable-features=Translate",
            *further,
        ],
    )


@pytest.fixture
def context(
    request: pytest.FixtureRequest, run: Run, chromium: Browser
) -> Iterator[BrowserContext]:
    """A browser without history that blocks third-party cookies, like Chromium's incognito mode.

    When the test fails, its trace and screenshots stay in the run's folder.
    """
    with chromium.new_context(ignore_https_errors=True) as fresh:
        fresh.set_default_timeout(10_000)
        fresh.tracing.start(screenshots=True, snapshots=True)
        yield fresh
        kept = run.folder / re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
        if failed(request.node):
            for number, page in enumerate(fresh.pages):
                page.screenshot(path=f"{kept}.{number}.png")
        fresh.tracing.stop(path=f"{kept}.trace.zip" if failed(request.node) else None)


def examples(**origins: str) -> str:
    """The JavaScript examples of docs/frontend.md; `backend_py="http://…"` replaces its address."""
    text = FRONTEND_MD.read_text()
    blocks = re.findall(r"^```js\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    script = "\n".join(block for block in blocks if "export default" not in block)
    assert "function" in script, "docs/frontend.md has no example"
    # The variables that a front end's build reads.
    script = f'const answers = "https://acme-backend-py.hf.space";\n{script}'
    for name, origin in origins.items():
        documented = f"https://acme-{name.replace('_', '-')}.hf.space"
        assert documented in script, f"{documented} is in no example"
        script = script.replace(documented, origin)
    return script
