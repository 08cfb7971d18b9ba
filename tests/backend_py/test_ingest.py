"""Ingestion brings a collection to the state of the documents: no more, no less, however often."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
import requests
from backend_py.conftest import StartPy
from doubles.running import Upstreams
from preflight.container import Container
from preflight.docker import Completed, docker

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


class Workshop:
    """The image as a tool, with a collection of the test's own in the Qdrant stand-in."""

    def __init__(self, space: Container, upstreams: Upstreams) -> None:
        self._space = space
        self._collection = f"own-{secrets.token_hex(4)}"
        self.rest = f"{upstreams.url}/collections/{self._collection}"

    def shell(self, *command: str, check: bool = True) -> Completed:
        variables = {"INDEX_PATH": "/tmp/own.sqlite", "COLLECTION_NAME": self._collection}
        given = [f"--env={name}={value}" for name, value in variables.items()]
        return docker("exec", *given, self._space.id, *command, check=check, deadline=120)

    def write(self, files: dict[str, str]) -> None:
        """Writes `files` below /tmp/docs, and nothing else."""
        script = (
            "import json, pathlib, shutil, sys\n"
            "shutil.rmtree('/tmp/docs', ignore_errors=True)\n"
            "for name, text in json.loads(sys.argv[1]).items():\n"
            "    path = pathlib.Path('/tmp/docs', name)\n"
            "    path.parent.mkdir(parents=True, exist_ok=True)\n"
            "    path.write_text(text)\n"
        )
        self.shell("python", "-c", script, json.dumps(files))

    def ingest(self, *arguments: str, fails: bool = False) -> str:
        """Output of `python -m app.ingest`, which must succeed or fail as said."""
        done = self.shell("python", "-m", "app.ingest", *arguments, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def build(self, out: str = "/tmp/own.sqlite") -> str:
        base = "https://docs.example/"
        return self.ingest("build", "--source", "/tmp/docs", "--base-url", base, "--out", out)

    def points(self) -> list[dict[str, Any]]:
        answer = requests.post(f"{self.rest}/points/scroll", json={"limit": 10_000}, headers=KEY)
        found: list[dict[str, Any]] = answer.json()["result"]["points"]
        return found


KEY = {"api-key": "k"}


@pytest.fixture(scope="module")
def _tool(_shared: StartPy, upstreams: Upstreams) -> Container:
    # Short vectors: the stand-in compares them in Python.
    environment = {**upstreams.environment, "EMBED_MODEL": "embed-english-light-v3.0"}
    return _shared(environment, upstreams.network)


@pytest.fixture
def workshop(_tool: Container, upstreams: Upstreams) -> Workshop:
    upstreams.reset()
    return Workshop(_tool, upstreams)


def pages(count: int) -> dict[str, str]:
    return {
        f"page-{n:03}.md": f"# Page {n}\n\nText of page {n}.\n\n## Section\n\nMore on {n}.\n"
        for n in range(count)
    }


def test_same_documents_same_bytes(workshop: Workshop) -> None:
    """Row 89: the index must be the same byte for byte, or no cache would know it again."""
    workshop.write(pages(20))
    workshop.build("/tmp/one.sqlite")
    workshop.build("/tmp/two.sqlite")
    done = workshop.shell("sha256sum", "/tmp/one.sqlite", "/tmp/two.sqlite")
    first, second = (line.split()[0] for line in done.stdout.splitlines())
    assert first == second


def test_push_again(workshop: Workshop, upstreams: Upstreams) -> None:
    """Rows 90, 92: a second push must embed nothing; the first goes in batches, indexes first."""
    workshop.write(pages(100))
    workshop.build()
    assert "200 to embed" in workshop.ingest("push", "--dry-run")
    assert not upstreams.calls("/v2/")
    workshop.ingest("push")
    embeds = upstreams.calls("/v2/embed")
    assert [len(call["body"]["texts"]) for call in embeds] == [96, 96, 8]
    assert {call["body"]["input_type"] for call in embeds} == {"search_document"}
    paths = [call["path"].rpartition("/")[2] for call in upstreams.calls("/collections/own-")]
    assert paths.count("index") == 2
    assert paths.index("index") < paths.index("points")
    assert len(workshop.points()) == 200
    upstreams.reset()
    assert "0 to embed, 0 stale" in workshop.ingest("push")
    assert not upstreams.calls("/v2/embed")
    assert len(workshop.points()) == 200
    assert "nothing missing or stale" in workshop.ingest("check")


def test_one_page_edited(workshop: Workshop, upstreams: Upstreams) -> None:
    """Row 91: an edit must cost its own chunks alone, and leave nothing of the old ones."""
    files = pages(10)
    workshop.write(files)
    workshop.build()
    workshop.ingest("push")
    foreign = {"id": 1, "vector": [1.0] * 384, "payload": {"text": "somebody else's"}}
    requests.put(
        f"{workshop.rest}/points", json={"points": [foreign]}, headers=KEY
    ).raise_for_status()
    upstreams.reset()
    files["page-003.md"] = "# Page 3\n\nText of page 3.\n\n## Section\n\nRewritten.\n"
    del files["page-004.md"]
    workshop.write(files)
    workshop.build()
    assert "fail" not in workshop.ingest("push")
    (call,) = upstreams.calls("/v2/embed")
    assert len(call["body"]["texts"]) == 1 and "Rewritten" in call["body"]["texts"][0]
    texts = [point["payload"]["text"] for point in workshop.points()]
    assert "Rewritten." in texts and "More on 3." not in texts and "More on 4." not in texts
    assert "somebody else's" in texts
    assert len(texts) == 18 + 1


def test_rate_limit_midway(workshop: Workshop, upstreams: Upstreams) -> None:
    """Row 93: a rate limit must be waited out; an end midway must be made up by the next push."""
    workshop.write(pages(60))
    workshop.build()
    upstreams.fault("cohere", "429", retry_after=1, after=1, times=1)
    workshop.ingest("push")
    assert len(workshop.points()) == 120
    requests.delete(workshop.rest, headers=KEY).raise_for_status()
    upstreams.fault("cohere", "401", after=1)
    assert "upstream_auth" in workshop.ingest("push", fails=True)
    assert len(workshop.points()) == 96
    upstreams.reset()
    assert "24 to embed" in workshop.ingest("push")
    assert len(workshop.points()) == 120


def test_what_pages_are_made_of(workshop: Workshop) -> None:
    """Row 94: code stays whole, imports and front matter go, anchors are the page's own."""
    page = (
        "<html><head><title>T</title></head><body><nav>Menu</nav><main><h1 id='top'>Pier</h1>"
        "<p>Moor here.</p><section id='ropes'><h2>Ropes<a class='headerlink'>¶</a></h2>"
        "<pre>tie()\n  knot()</pre></section></main></body></html>"
    )
    workshop.write(
        {"guide/02-harbour.mdx": PAGE, "pier.html": page, "empty.md": "", "only.md": "# Alone\n"},
    )
    workshop.build()
    workshop.ingest("push")
    found = {point["payload"]["url"]: point["payload"] for point in workshop.points()}
    harbour = "https://docs.example/guide/harbour"
    assert set(found) == {
        harbour,
        f"{harbour}#tides",
        f"{harbour}#tides-1",
        "https://docs.example/pier.html#top",
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
    """A folder that is missing or empty must be refused in one line."""
    for source in ("/nowhere", "/proc/self/fdinfo"):
        said = workshop.ingest("build", "--source", source, "--out", "/tmp/x", fails=True)
        assert said.startswith("--source:") and len(said.splitlines()) == 1
