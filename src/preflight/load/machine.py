"""The machine of a run and its speed: two runs are comparable only if both agree."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from pathlib import Path
from typing import Any

import psutil

# Bytes to hash, how often, and the seconds between: the shortest time is the machine's speed. Without pauses, all
# fall into a few ms in which another program or the host may have the CPU; such figures differed by a third.
WORK, TIMES, PAUSE = bytes(2_000_000), 50, 0.02


def calibrated() -> dict[str, Any]:
    """The machine: `cpu` (its model), `cpus`, and `calibration_ms`, the time of a fixed piece of work. Takes a second."""
    best = math.inf
    for _ in range(TIMES):
        best = min(best, _work())
        time.sleep(PAUSE)
    return {
        "cpu": _model(),
        "cpus": psutil.cpu_count() or 1,
        "calibration_ms": round(best * 1000, 3),
    }


def _work() -> float:
    start = time.perf_counter()
    hashlib.sha256(WORK).digest()
    sum(range(100_000))
    return time.perf_counter() - start


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
