"""A push must bring a collection to the state of the documents, however often it runs."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.engine.run import Run
from tests.backend_py.conftest import KEY
from tests.cli.documents import typed
from tests.doubles.running import Upstreams
from tests.spaces import ROOT

PAGE = """---
title: The harbour
---
import Tabs from '@theme/Tabs';

# The harbour

Boats rest here. <Tabs>They rest</Tabs> {/* hidden */}

## Tides {#tides}

| tide | height |
|------|--------|
| high | 4 m    |

```python
import this

# Not a heading
tide = "high"
```

## Tides

A second section of that name.
"""


# Replaces /tmp/docs by the given files, then runs each command line as `python -m app.ingest` would:
# in one process, because the imports take longer than the commands.
TOOL = """
import contextlib, io, json, pathlib, shutil, sys
from app.ingest import main
files, commands = json.load(sys.stdin)
if files is not None:
    shutil.rmtree("/tmp/docs", ignore_errors=True)
    for name, text in files.items():
        path = pathlib.Path("/tmp/docs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
ends = []
for arguments in commands:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    ends.append([code, said.getvalue()])
print(json.dumps(ends))
"""
BUILD = ["build", "--source", "/tmp/docs", "--base-url", "https://docs.example/", "--out"]
OWN = "/tmp/own.sqlite"
PUSH = ["push"]


class Workshop:
    """The image's build stage, with a separate collection in the Qdrant stand-in for each test."""

    def __init__(self, space: Container, upstreams: Upstreams) -> None:
        self._space = space
        self._collection = f"own-{secrets.token_hex(4)}"
        self.rest = f"{upstreams.url}/collections/{self._collection}"

    def shell(self, *command: str, stdin: str | None = None) -> str:
        variables = {
            "INDEX_PATH": OWN,
            "COLLECTION_NAME": self._collection,
            # Short vectors: the stand-in compares them in Python.
            "EMBED_MODEL": "embed-english-light-v3.0",
            "QDRANT_TIMEOUT": "30",
        }
        given = [f"--env={name}={value}" for name, value in variables.items()]
        return docker(
            "exec", "--interactive", *given, self._space.id, *command, stdin=stdin, deadline=120
        ).stdout

    def ingest(
        self, *commands: list[str], files: dict[str, str] | None = None, failing: int = 0
    ) -> list[str]:
        """The output of each command; the first `failing` commands must fail, the others succeed."""
        ends = json.loads(self.shell("python", "-c", TOOL, stdin=json.dumps([files, commands])))
        assert len(ends) == len(commands) > 0
        for number, (code, said) in enumerate(ends):
            assert (code != 0) == (number < failing), f"{commands[number]}: {code}\n{said}"
        return [said for _, said in ends]

    def build_and_push(self, files: dict[str, str]) -> None:
        self.ingest([*BUILD, OWN], PUSH, files=files)

    def points(self) -> list[dict[str, Any]]:
        answer = requests.post(f"{self.rest}/points/scroll", json={"limit": 10_000}, headers=KEY)
        found: list[dict[str, Any]] = answer.json()["result"]["points"]
        return found


@pytest.fixture
def workshop(readers: Container, upstreams: Upstreams) -> Workshop:
    upstreams.reset()
    return Workshop(readers, upstreams)


def pages(count: int) -> dict[str, str]:
    return {
        f"page-{n:03}.md": f"# Page {n}\n\nText of page {n}.\n\n## Section\n\nMore on {n}.\n"
        for n in range(count)
    }


def test_same_documents_same_bytes(workshop: Workshop) -> None:
    """The same documents must give the same index byte for byte, or build caches could not match it."""
    both = ("/tmp/one.sqlite", "/tmp/two.sqlite")
    workshop.ingest(*([*BUILD, out] for out in both), files=pages(20))
    first, second = (line.split()[0] for line in workshop.shell("sha256sum", *both).splitlines())
    assert first == second


def test_push_again(workshop: Workshop, upstreams: Upstreams) -> None:
    """A second push must embed nothing; the first must create the indexes and then push in batches."""
    build, dry_run = [*BUILD, OWN], [*PUSH, "--dry-run"]
    _, dry, first = workshop.ingest(build, dry_run, PUSH, files=pages(50))
    assert "100 to embed" in dry and "100 to embed" in first
    embeds = upstreams.calls("/v2/embed")
    assert [len(call["body"]["texts"]) for call in embeds] == [96, 4]
    assert {call["body"]["input_type"] for call in embeds} == {"search_document"}
    paths = [call["path"].rpartition("/")[2] for call in upstreams.calls("/collections/own-")]
    assert paths.count("index") == 2
    assert paths.index("index") < paths.index("points")
    assert len(workshop.points()) == 100
    upstreams.reset()
    again, check = workshop.ingest(PUSH, ["check"])
    assert "0 to embed, 0 stale" in again
    assert "nothing missing or stale" in check
    kinds = [call["body"]["input_type"] for call in upstreams.calls("/v2/embed")]
    # The only call is the probe of `check`.
    assert kinds == ["search_query"]
    assert len(workshop.points()) == 100


def test_one_page_edited(workshop: Workshop, upstreams: Upstreams) -> None:
    """An edit must embed only the changed chunks, and must leave no stale chunks."""
    files = pages(10)
    workshop.build_and_push(files)
    foreign = {"id": 1, "vector": [1.0] * 384, "payload": {"text": "another tool's"}}
    requests.put(
        f"{workshop.rest}/points", json={"points": [foreign]}, headers=KEY
    ).raise_for_status()
    upstreams.reset()
    files["page-003.md"] = "# Page 3\n\nText of page 3.\n\n## Section\n\nRewritten.\n"
    del files["page-004.md"]
    workshop.build_and_push(files)
    (call,) = upstreams.calls("/v2/embed")
    assert len(call["body"]["texts"]) == 1 and "Rewritten" in call["body"]["texts"][0]
    texts = [point["payload"]["text"] for point in workshop.points()]
    assert "Rewritten." in texts and "More on 3." not in texts and "More on 4." not in texts
    assert "another tool's" in texts
    assert len(texts) == 18 + 1


def test_rate_limit_midway(workshop: Workshop, upstreams: Upstreams) -> None:
    """A push must wait out a rate limit, and the next push must complete an interrupted one."""
    upstreams.fault("cohere", "429", retry_after=1, after=1, times=1)
    workshop.build_and_push(pages(60))
    assert len(workshop.points()) == 120
    assert len(upstreams.calls("/v2/embed")) == 3
    requests.delete(workshop.rest, headers=KEY).raise_for_status()
    upstreams.fault("cohere", "401", after=1, times=1)
    first, again = workshop.ingest(PUSH, PUSH, failing=1)
    assert "120 to embed" in first and "upstream_auth" in first
    assert "24 to embed" in again
    assert len(workshop.points()) == 120


def test_what_pages_are_made_of(workshop: Workshop) -> None:
    """Chunks must keep code whole, leave out imports and front matter, and keep the page's anchors."""
    page = (
        "<html><head><title>T</title></head><body><nav>Menu</nav><main><h1 id='top'>Pier</h1>"
        "<p>Moor here.</p><section id='ropes'><h2>Ropes<a class='headerlink'>¶</a></h2>"
        "<pre>tie()\n  knot()</pre></section></main></body></html>"
    )
    workshop.build_and_push(
        {"guide/02-harbour.mdx": PAGE, "pier.html": page, "empty.md": "", "only.md": "# Alone\n"},
    )
    found = {point["payload"]["url"]: point["payload"] for point in workshop.points()}
    harbour = "https://docs.example/guide/harbour"
    assert set(found) == {
        harbour,
        f"{harbour}#tides",
        f"{harbour}#tides-1",
        "https://docs.example/pier.html",
        "https://docs.example/pier.html#ropes",
    }
    everything = " ".join(payload["text"] for payload in found.values())
    for gone in ("@theme", "hidden", "<Tabs>", "title:", "Menu", "¶"):
        assert gone not in everything
    tides = found[f"{harbour}#tides"]
    assert 'import this\n\n# Not a heading\ntide = "high"' in tides["text"]
    assert "high | 4 m" in tides["text"]
    assert tides["title"] == "The harbour > Tides"
    assert "tie()\n  knot()" in found["https://docs.example/pier.html#ropes"]["text"]


def test_wrong_source(workshop: Workshop) -> None:
    """A missing or empty folder must be refused with one line."""
    sources = ("/nowhere", "/media")
    commands = (["build", "--source", source, "--out", "/tmp/x"] for source in sources)
    for said in workshop.ingest(*commands, failing=len(sources)):
        assert said.startswith("--source:") and len(said.splitlines()) == 1


def test_only_the_build_stage_can_read(embedded: Container) -> None:
    """The image must not contain the document readers, and `build` must report that in one line."""
    command = ("python", "-m", "app.ingest", "build", "--out", "/tmp/x.sqlite")
    done = docker("exec", embedded.id, *command, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("build: ") and "--target build" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("py_image")
def test_make_book(tmp_path: Path, run: Run) -> None:
    """`make book` must build the Space with a folder, list what it left out, and measure it."""
    (tmp_path / "harbour.md").write_text("# Harbour\n\n## Tides\n\nHigh tide is at noon.\n")
    (tmp_path / "draft.md").write_text("---\ndraft: true\n---\nSecret.\n")
    (tmp_path / "questions.toml").write_text(
        'questions = [{ text = "When is high tide?", gold = ["harbour#tides"] }]'
    )
    image = f"{run.id}-own-book"
    make_book = shlex.split(typed("make book DIR=docs", {"docs": str(tmp_path)}))
    command = [*make_book, "--no-print-directory", f"IMAGE={image}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    docker("image", "rm", image, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: draft.md: it is a draft" in done.stdout.splitlines()
    assert "| all with an answer | 1 | 100% | 100% | 1.00 | 0% | 100% |" in done.stdout


def test_make_book_without_a_folder(tmp_path: Path) -> None:
    """A missing or wrong folder must be refused with the name of its variable."""
    for options in ([], [f"DIR={tmp_path / 'gone'}"]):
        done = subprocess.run(
            ["make", "book", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "DIR: " in done.stderr and "make book DIR=docs" in done.stderr
