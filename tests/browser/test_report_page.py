"""The page of a run must show its findings to every reader, on any screen, without loading other files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from preflight.load.figures import Figures, Run
from preflight.load.judge import judge
from preflight.load.report import data
from preflight.load.slo import load
from preflight.load.watch import Watched
from preflight.pytest_plugin.page import duration, size

ROOT = Path(__file__).resolve().parents[2]
SOUND = ROOT / "src" / "preflight" / "templates" / "python"
CHECKS = "test_serves or size or cors or environment or colours"
BROKEN = "metadata.colours_are_known"


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two workers over a Space with one fault, after a load run."""
    top = tmp_path_factory.mktemp("report")
    space = top / "signer"
    shutil.copytree(SOUND, space)
    readme = space / "README.md"
    text = readme.read_text()
    assert "colorFrom: indigo" in text
    readme.write_text(text.replace("colorFrom: indigo", "colorFrom: orange"))
    seen = Figures(samples=1000, latencies={10: 950, 30: 40, 80: 10})
    figures = {"GET backend-py/health": seen}
    verdict = judge(load(ROOT / "loadtests" / "slo.toml"), Run(30, {"Reader": 4}, figures))
    watched = SimpleNamespace(
        name="backend-py", seconds=[1, 2, 3], cpu=[0.1, 0.9, 0.4], memory=[60, 64, 65],
        network=[], files=[], connections=[], disk=[], restarts=0,
    )  # fmt: skip
    (top / "load.json").write_text(data(verdict, [cast(Watched, watched)]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "src/preflight/contract", f"--space={space}", "-k", CHECKS),
            *(f"--report-dir={top}", "--numprocesses=2", "--dist=loadfile", "-p", "no:cacheprovider"),
            *("-q", f"--junitxml={top / 'junit.xml'}"),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-3000:] + done.stderr
    assert f"The page of this run: {top / 'index.html'}" in done.stdout
    return top


@pytest.fixture(scope="session")
def records(left: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((left / "preflight.json").read_text())["checks"]
    return [record for record in found if record["space"] == "signer"]


@pytest.fixture
def scheme() -> Literal["light", "dark"]:
    return "light"


@pytest.fixture
def page(left: Path, plain_chromium: Browser, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """The page on a narrow screen, in the colour scheme of the test."""
    with plain_chromium.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme
    ) as context:
        opened = context.new_page()
        opened.goto((left / "index.html").as_uri())
        yield opened


def shown(records: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    found = [row for record in records for row in record["shown"].get(what, [])]
    assert found, f"no check has shown {what}"
    return found


def open_details(page: Page) -> None:
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((element) => { element.open = true })"
    )


def test_shows_the_findings_of_the_run(page: Page, records: list[dict[str, Any]]) -> None:
    """Verdict, finding and every figure must equal those of preflight.json, from any worker."""
    held = [record for record in records if record["outcome"] == "held"]
    card = page.locator(".card").filter(has_text="signer")
    expect(card).to_contain_text(f"{len(held)} checks held, 1 found something (1 breaks)")
    (image,) = shown(records, "image")
    layers = shown(records, "layers")
    expect(card).to_contain_text(
        f"{size(image['size'])} of {size(image['budget'])}, {len(layers)} layers; "
        f"about {size(image['compressed'])} to pull"
    )
    assert 0 < image["compressed"] < image["size"]
    (start,) = shown(records, "start")
    expect(card).to_contain_text(f"{duration(start['seconds'])} after its start")
    assert start["memory"] > 2**20
    expect(card).to_contain_text(size(start["memory"]))
    finding = page.locator(".finding")
    expect(finding).to_contain_text(BROKEN)
    expect(finding).to_contain_text("colorFrom: orange")

    def rows(region: str) -> Any:
        return page.get_by_role("region", name=region).locator("tbody tr")

    expect(rows("Start of signer")).to_have_count(len(start["timeline"]))
    assert start["timeline"][-1]["end"] > start["seconds"]
    expect(rows("Image layers of signer")).to_have_count(len(layers))
    cors = shown(records, "cors")
    expect(rows("CORS of signer")).to_have_count(len({case["origin"] for case in cors}))
    expect(page.get_by_role("region", name="CORS of signer").locator("td")).to_have_count(len(cors))
    expect(rows("CORS of signer").filter(has_text="another site")).to_contain_text("200 refused")
    expect(rows("Environment of signer").filter(has_text="SIGNING_KEY")).to_contain_text("exit code 3")  # fmt: skip
    expect(rows("Latency of each request").filter(has_text="backend-py/health")).to_contain_text("10")  # fmt: skip
    expect(page.get_by_role("img", name="CPU, cores of backend-py")).to_be_visible()


def test_must_show_each_column_of_each_table_at_360_px(page: Page) -> None:
    """No verdict may hide behind the edge of a narrow screen; only a bar is a repetition of its row."""
    open_details(page)
    hidden = page.eval_on_selector_all(
        "td, tbody th",
        """(cells) => cells
            .filter((cell) => !cell.querySelector(":scope > .track"))
            .filter((cell) => cell.getBoundingClientRect().right > cell.closest(".scroll").getBoundingClientRect().right)
            .map((cell) => `${cell.closest(".scroll").ariaLabel}: ${cell.textContent}`)""",
    )
    assert hidden == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_is_one_file_for_every_screen_and_reader(page: Page) -> None:
    """The page must load no file, fit 360 px and pass axe with all details open."""
    open_details(page)
    # The test adds the bundle of axe's rules as a script.
    faults = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert not faults, [
        (fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults
    ]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    loaded = page.evaluate(
        "() => performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [address for address in loaded if not address.startswith("data:")] == []
    named = page.eval_on_selector_all(
        "[src], link[href]", "(found) => found.map((element) => element.src ?? element.href)"
    )
    assert [address for address in named if not address.startswith("data:")] == []
