"""The closed and the open model on a server that stalls for two of every ten seconds."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from preflight.load.plan import Rate
from tests.cli.documents import typed

from .conftest import Bench, LoadRun

SECONDS, RATE = 22, 50
SLO = '["GET /"]\np50 = 9000\np95 = 9000\np99 = 9000\n'


async def reference(url: str) -> list[float]:
    """Seconds from the intended start of each request to its response, at a constant rate, each on a new
    connection. wrk2 counts the same way; the gate's code is not used."""
    target = urlsplit(url)
    request = f"GET / HTTP/1.1\r\nHost: {target.netloc}\r\nConnection: close\r\n\r\n".encode()
    start = time.perf_counter()

    async def send(due: float) -> float:
        await asyncio.sleep(start + due - time.perf_counter())
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        writer.write(request)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        return time.perf_counter() - start - due

    return await asyncio.gather(*(send(number / RATE) for number in range(RATE * 20)))


def words(command: str) -> list[str]:
    """The arguments of a documented `preflight load`."""
    return shlex.split(command)[2:]


def p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


@pytest.mark.alone
def test_the_open_model_must_report_what_the_closed_model_omits(bench: Bench) -> None:
    """The open model must agree with the reference, the closed must not; all load one server together."""
    stub = shlex.split(typed("python tests/load/stub.py --stall 2 &"))
    assert stub[:2] == ["python", "tests/load/stub.py"] and stub[-1] == "&"
    url = bench.stub(*stub[2:-1])[1]
    names = {"http://127.0.0.1:PORT": url, "42": str(SECONDS)}

    def arrivals() -> LoadRun:
        command = typed("preflight load http://127.0.0.1:PORT --rate 50 --time 42", names)
        return bench.any(*words(command), slo=SLO)

    def people() -> LoadRun:
        command = typed(
            "preflight load http://127.0.0.1:PORT --users 5 --think 0.05 --time 42", names
        )
        return bench.any(*words(command), slo=SLO)

    with ThreadPoolExecutor() as pool:
        opened, closed = pool.submit(arrivals), pool.submit(people)
        seconds = asyncio.run(reference(url))
        open_run, closed_run = opened.result(), closed.result()
    truth = 1000 * p99(seconds)
    said = open_run.rows("p99")["GET /"], closed_run.rows("p99")["GET /"]
    print(f"p99: truth {truth:.0f} ms, open model {said[0]} ms, closed model {said[1]} ms")
    assert open_run.exit_code == closed_run.exit_code == 0, open_run.output + closed_run.output
    assert open_run.verdict["model"] == "open"
    assert said[0] == pytest.approx(truth, rel=0.1)
    assert said[1] < truth / 4
    assert open_run.verdict["arrivals"]["dropped"] == 0


def test_a_ramp_must_have_the_arrivals_of_its_rates() -> None:
    ramp = Rate(10, 200, 60)
    assert ramp.count(60) == 105 * 60
    assert ramp.due(105 * 60) == pytest.approx(60)
    gaps = [ramp.due(number + 1) - ramp.due(number) for number in (0, 6000)]
    assert gaps == [pytest.approx(0.1, rel=0.2), pytest.approx(1 / 195, rel=0.05)]
    falling = Rate(200, 10, 60)
    assert falling.due(105 * 60) == pytest.approx(60)
    assert [Rate(50, 50, 10).due(number) for number in (0, 100)] == [0, 2]
