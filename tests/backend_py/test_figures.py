"""What the service costs, against a bare server in a container beside it in the same run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import pytest
from backend_py.asking import QUESTION, ask, open_stream, stream
from backend_py.conftest import COMMON, StartPy
from doubles.running import Upstreams
from preflight.container import Container, start
from preflight.docker import docker
from preflight.image import Image, base_images, stand_in
from preflight.run import Run
from preflight.space import Space

MB = 1_000_000
pytestmark = pytest.mark.alone

# Requests over 8 connections, in a process of its own: rate per second and p99 in seconds.
LOAD = """
import http.client, json, sys, threading, time

port, method, path, body, seconds = sys.argv[1:]
waits = []
def work():
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    headers = {"Content-Type": "application/json"} if body else {}
    while time.monotonic() < end:
        began = time.monotonic()
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        waits.append(time.monotonic() - began)
end = time.monotonic() + float(seconds)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
waits.sort()
print(json.dumps({"count": len(waits), "rate": len(waits) / float(seconds),
                  "p99": waits[int(len(waits) * 0.99)]}))
"""


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return show


def load(space: Container, path: str, body: object = None, seconds: float = 2) -> dict[str, float]:
    port, sent = space.url.rpartition(":")[2], json.dumps(body) if body else ""
    method = "POST" if body else "GET"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, port, method, path, sent, str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def cpu_ticks(space: Container) -> int:
    """User and system time of the container's first process. Source: man 5 proc."""
    stat = docker("exec", space.id, "cat", "/proc/1/stat").stdout.rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def resident(space: Container) -> float:
    """Resident memory of the first process in MB. Source: man 5 proc."""
    status = docker("exec", space.id, "cat", "/proc/1/status").stdout
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / MB


def test_image(
    py_image: Image, own_spaces: Mapping[str, Space], say: Callable[[str], None]
) -> None:
    """The image may be at most 45 MB above its base."""
    (official,) = set(base_images(own_spaces["backend-py"].folder))
    base = docker("image", "inspect", "--format={{.Size}}", stand_in(official) or official).stdout
    above = (py_image.size - int(base)) / MB
    say(f"image above its base: {above:.1f} MB")
    assert above <= 45


def test_start(run: Run, py_image: Image, doubles_image: Image, say: Callable[[str], None]) -> None:
    """Row 12: from `docker run` to the first answer at most 1.2 s, or twice what a bare server takes."""

    def seconds(image: Image, environment: Mapping[str, str], options: list[str]) -> float:
        began = time.monotonic()
        with start(run, image, "figure", environment, options=options) as container:
            container.wait_until_serving("/health", status=200)
            return time.monotonic() - began

    bare: list[float] = []
    ours: list[float] = []
    # On a busy machine it takes more tries to see either undisturbed.
    while len(ours) < 3 or (min(ours) > 2 * min(bare) and len(ours) < 8):
        bare.append(seconds(doubles_image, {}, ["--entrypoint=/doubles/bare.py"]))
        ours.append(seconds(py_image, {"RAG_MODE": "embedded"}, []))
    say(f"container start to first 200: {min(ours):.2f} s, bare {min(bare):.2f} s")
    # Twice the floor on a quiet machine; others at work slow the imports, not the engine's part.
    assert min(ours) <= max(1.2, 2 * min(bare))


def test_health(embedded: Container, bare: Container, say: Callable[[str], None]) -> None:
    """Row 88: liveness per CPU second at least 0.3 of a bare server's."""
    ratios = []
    for _ in range(3):
        costs = []
        for space in (bare, embedded):
            load(space, "/health", seconds=0.2)
            before = cpu_ticks(space)
            count = load(space, "/health", seconds=2)["count"]
            costs.append((cpu_ticks(space) - before) / count)
        ratios.append(costs[0] / costs[1])
    say(f"/health per CPU second: {statistics.median(ratios):.2f} of the floor")
    assert statistics.median(ratios) >= 0.3


def test_chat_rate(embedded: Container, bare: Container, say: Callable[[str], None]) -> None:
    """Embedded answers: 500 a second at 8 connections or 0.06 of the floor, p99 at most 40 ms."""
    floor = load(bare, "/health")
    # A history keeps the cache out of it.
    body = {"question": QUESTION, "history": [{"role": "assistant", "content": "Hello."}]}
    load(embedded, "/chat", body, seconds=0.2)
    ours = load(embedded, "/chat", body)
    cached = load(embedded, "/chat", {"question": QUESTION})
    say(
        f"/chat at 8 connections: {ours['rate']:.0f}/s, p99 {ours['p99'] * 1000:.0f} ms; cached "
        f"{cached['rate']:.0f}/s; floor {floor['rate']:.0f}/s, p99 {floor['p99'] * 1000:.0f} ms"
    )
    assert ours["rate"] >= 500 or ours["rate"] >= 0.06 * floor["rate"]
    # On a busy machine the floor's own tail is long.
    assert ours["p99"] <= max(0.04, 8 * floor["p99"])


def test_memory(
    start_space: StartPy, upstreams: Upstreams, cloud: Container, say: Callable[[str], None]
) -> None:
    """Row 87: at most 80 MB idle; 1,000 mixed requests grow it by less than 10 MB."""
    del cloud  # It fills the collection.
    space = start_space("backend-py", {**COMMON, **upstreams.environment}, upstreams.network)
    space.wait_until_serving("/health", status=200)
    idle = resident(space)
    for number in range(50):
        ask(space, f"{QUESTION} {number}")
        stream(space)
    before = resident(space)
    for number in range(100):
        ask(space, f"{QUESTION} {number}", fresh=number % 2 == 0)
        ask(space, f"{number} {'x' * 1900}")
        stream(space)
        for _ in range(3):
            space.get("/health")
        space.post("/search", json={"query": f"port {number}"})
        space.post("/chat", json={"question": number})
        space.post("/chat", data="x" * 200_000)
        space.get("/nowhere")
    after = resident(space)
    say(f"memory: {idle:.0f} MB idle, {after - before:+.1f} MB after 1,000 mixed requests")
    assert idle <= 80
    assert after - before < 10
    assert "ResourceWarning" not in space.logs()


def test_slow_reader(cloud: Container, upstreams: Upstreams, say: Callable[[str], None]) -> None:
    """Row 78: a reader who does not read must hold back the model, not fill the memory."""
    upstreams.answer(text=f"{'w' * 8000} " * 4000)
    before = filled = resident(cloud)
    with open_stream(cloud):
        # The buffers on the way fill up, and then nothing may grow.
        end = time.monotonic() + 20
        while True:
            time.sleep(0.9)
            now = resident(cloud)
            if now > before + 1 and now - filled < 0.2:
                break
            filled = now
            assert time.monotonic() < end, f"still growing: {now - before:.1f} MB"
    say(f"slow reader of an answer of 32 MB: {now - before:+.1f} MB")
    # What the buffers on the way hold; the answer has 32 MB.
    assert now - before < 20


def test_rate_limit_answer(cloud_strict: Container, upstreams: Upstreams) -> None:
    """Cohere's 429 with a Retry-After of a minute must be answered within 50 ms."""
    ask(cloud_strict)
    upstreams.fault("cohere", "429", path="/v2/chat", retry_after=60)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        assert ask(cloud_strict).status_code == 503
        waits.append(time.monotonic() - began)
    assert min(waits) < 0.05
