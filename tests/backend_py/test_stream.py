"""A streamed answer must arrive as it is written, complete and unchanged, or end with one error."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from preflight.engine.container import Container
from tests.backend_py.asking import (
    FRESH,
    QUESTION,
    Event,
    ask,
    code_of,
    events,
    open_stream,
    stream,
    text_of,
)
from tests.backend_py.conftest import COMMON, StartPy
from tests.doubles.running import Upstreams
from tests.waiting import eventually


def test_a_whole_stream(cloud: Container) -> None:
    """A stream must send the sources first, then the same text as POST /chat, then exactly one `done`."""
    with open_stream(cloud) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        received = [event for event in events(response) if isinstance(event, Event)]
    names = [event.name for event in received]
    assert names[:3] == ["meta", "sources", "delta"]
    assert names.count("done") == 1 and names[-1] == "done"
    assert "error" not in names
    whole = ask(cloud).json()
    assert text_of(received) == whole["answer"]
    cited = [event.data for event in received if event.name == "citation"]
    assert cited == whole["citations"]
    assert received[-1].data == {"grounded": True, "finish_reason": "COMPLETE"}


def test_embedded_stream(embedded: Container) -> None:
    """An extractive answer must stream the same text as POST /chat returns."""
    received = stream(embedded)
    assert text_of(received) == ask(embedded).json()["answer"]
    assert received[0].data["mode"] == "extractive"


def test_repeated_question(cloud: Container, upstreams: Upstreams) -> None:
    """A repeated question must be streamed from the cache, without another call."""
    first = stream(cloud, "What do the stages of a Space mean?", history=[])
    second = stream(cloud, "What do the stages of a Space mean?", history=[])
    assert text_of(first) == text_of(second)
    assert len(upstreams.calls("/v2/chat")) == 1


def completion_chunks(space: Container) -> list[dict[str, Any]]:
    """The data of a streamed chat completion; the end mark comes as an empty object."""
    messages = [*FRESH["history"], {"role": "user", "content": QUESTION}]
    body = {"messages": messages, "stream": True}
    with space.post("/v1/chat/completions", json=body, stream=True, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.content.decode().split("\n\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [{} if given == "[DONE]" else json.loads(given) for given in data]


def test_openai_stream(cloud: Container) -> None:
    """A client of OpenAI's API must get the model's text, and the citations in the last chunk."""
    *chunks, last, end = completion_chunks(cloud)
    assert end == {}
    whole = ask(cloud).json()
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole["answer"]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["book"]["citations"] == whole["citations"] != []
    assert last["book"]["sources"] == whole["sources"]


def test_openai_stream_that_is_cut(cloud: Container, upstreams: Upstreams) -> None:
    """A broken stream must end with an error and without the end mark."""
    upstreams.fault("cohere", "cut", path="/v2/chat")
    last = completion_chunks(cloud)[-1]
    assert last["error"]["code"] == "upstream_truncated"


def test_arrives_as_it_is_written(cloud: Container, upstreams: Upstreams) -> None:
    """The first word must arrive while the model still writes."""
    upstreams.answer(text="word " * 20, delay_ms=50)
    with open_stream(cloud) as response:
        next(e for e in events(response) if isinstance(e, Event) and e.name == "delta")
        (call,) = upstreams.calls("/v2/chat")
        assert "ended" not in call


@pytest.mark.thorough
@pytest.mark.usefixtures("cloud")
def test_silence_is_pinged(start_space: StartPy, upstreams: Upstreams) -> None:
    """The connection must carry a ping while the model is silent for 16 s."""
    space = start_space("backend-py", {**COMMON, **upstreams.environment}, upstreams.network)
    space.wait_until_serving("/health", status=200)
    upstreams.answer(text="late", delay_ms=16_000)
    with open_stream(space) as response:
        received = list(events(response))
    assert "ping" in received
    assert isinstance(received[-1], Event) and received[-1].name == "done"


@pytest.mark.parametrize(("kind", "status"), [("401", 502), ("429", 503), ("html", 502)])
def test_fault_before_the_first_byte(
    cloud_strict: Container, upstreams: Upstreams, kind: str, status: int
) -> None:
    """A failure before the first byte must be answered as JSON with its status."""
    upstreams.fault("cohere", kind, path="/v2/chat")
    with open_stream(cloud_strict) as response:
        assert response.status_code == status
        assert code_of(response).startswith("upstream_")


def test_fallback_before_the_first_byte(cloud: Container, upstreams: Upstreams) -> None:
    """The stream must carry passages of the index while an upstream fails and RAG_FALLBACK is on."""
    upstreams.fault("cohere", "500", path="/v2/chat")
    received = stream(cloud)
    assert received[0].data == {**received[0].data, "mode": "extractive", "degraded": True}
    assert received[-1].name == "done"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("malformed", "upstream_bad_response"),
        ("cut", "upstream_truncated"),
        ("abort", "upstream_unavailable"),
        ("stall", "upstream_timeout"),
    ],
)
def test_fault_in_the_middle(cloud: Container, upstreams: Upstreams, kind: str, code: str) -> None:
    """A broken stream must end with exactly one `error` event and without `done`."""
    upstreams.fault("cohere", kind, path="/v2/chat")
    received = stream(cloud)
    names = [event.name for event in received]
    assert names.count("error") == 1 and names[-1] == "error"
    assert "done" not in names
    assert received[-1].data["code"] == code


def test_length_limit(cloud: Container, upstreams: Upstreams) -> None:
    """An answer cut at the model's limit must have the finish reason MAX_TOKENS."""
    upstreams.answer(text="It goes on and", finish_reason="MAX_TOKENS")
    assert stream(cloud)[-1].data["finish_reason"] == "MAX_TOKENS"


@pytest.mark.parametrize("size", [None, 1, 7])
def test_text_arrives_unchanged(cloud: Container, upstreams: Upstreams, size: int | None) -> None:
    """Line breaks, event framing, separators and split emoji must arrive unchanged."""
    text = "one\n\ndata: two\r\nevent: x\u2028three\u2029 \u0085 🚀👩‍🚀 é \x1f end"
    upstreams.answer(text=text, write_bytes=size)
    assert text_of(stream(cloud)) == text


@pytest.mark.parametrize("delay_ms", [400, 1], ids=["idle", "fast"])
def test_reader_leaves(cloud: Container, upstreams: Upstreams, delay_ms: int) -> None:
    """A disconnected client must close the model's stream within a second, without an error in the log."""
    before = cloud.logs().count('"level": "error"')
    upstreams.answer(text="word " * 3000, delay_ms=delay_ms)
    response = open_stream(cloud)
    next(events(response))
    response.close()
    left = time.time()
    eventually(
        "the end of the model's stream", 3, lambda: "aborted" in upstreams.calls("/v2/chat")[0]
    )
    assert upstreams.calls("/v2/chat")[0]["aborted"] - left < 1
    log = cloud.logs()
    assert log.count('"level": "error"') == before
    assert "Traceback" not in log


# In a separate process: fifty readers in this process would delay it.
PROBE = """
import http.client, json, sys, time
connections = [http.client.HTTPConnection("127.0.0.1", int(port)) for port in sys.argv[1:]]
waits = [[] for _ in connections]
end = time.monotonic() + 0.7
while time.monotonic() < end:
    for connection, seen in zip(connections, waits):
        started = time.monotonic()
        connection.request("GET", "/health")
        connection.getresponse().read()
        seen.append(time.monotonic() - started)
print(json.dumps([sorted(seen)[int(len(seen) * 0.99)] for seen in waits]))
"""


@pytest.mark.alone
def test_many_streams_at_once(cloud: Container, bare: Container, upstreams: Upstreams) -> None:
    """50 streams must all complete while liveness answers within 100 ms (p99).

    The time of a bare server beside it is the machine's share and is added.
    """
    upstreams.answer(text="word " * 11, delay_ms=100)
    ports = [space.url.rpartition(":")[2] for space in (cloud, bare)]
    with ThreadPoolExecutor(50) as pool:
        running = [pool.submit(stream, cloud) for _ in range(50)]
        probe = subprocess.run(
            [sys.executable, "-c", PROBE, *ports], capture_output=True, check=True, timeout=30
        )
        assert not all(task.done() for task in running)
        ends = [task.result()[-1].name for task in running]
    assert ends == ["done"] * 50
    ours, floor = json.loads(probe.stdout)
    assert ours < 0.1 + floor
