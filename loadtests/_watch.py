"""The server's side of a run: CPU, memory, network and open files of the Spaces, once a second."""

import subprocess
from pathlib import Path
from statistics import linear_regression

import psutil


class WatchError(ValueError):
    """--watch cannot be followed; the text says why and what to do."""


class Watched:
    """One Space: a process and its children; of a container its first process.

    `target` is `container:ID` or `pid:NUMBER`; raises WatchError when there is none.
    """

    def __init__(self, name: str, target: str) -> None:
        self.name, self.target = name, target
        self.clear()

    def clear(self) -> None:
        """Forget the samples."""
        self.process = find(self.target)
        self.children: dict[int, psutil.Process] = {}
        self.restarts = 0
        self.seconds: list[float] = []
        self.cpu: list[float] = []  # cores
        self.memory: list[float] = []  # MB, resident
        self.network: list[float] = []  # MB so far, both ways
        self.files: list[int] = []  # open files and connections

    def sample(self, second: float) -> None:
        try:
            found = [self.process, *self.process.children(recursive=True)]
            # The same objects as before: psutil measures CPU since an object's previous call.
            self.children = {p.pid: self.children.get(p.pid, p) for p in found}
            family = self.children.values()
            cpu = sum(p.cpu_percent() for p in family) / 100
            memory = sum(p.memory_info().rss for p in family) / 1e6
            files = sum(p.num_fds() for p in family)
            network = traffic(self.process.pid)
        except (psutil.Error, OSError):
            self.look_again()
            return
        self.seconds.append(second)
        self.cpu.append(cpu)
        self.memory.append(memory)
        self.network.append(network)
        self.files.append(files)

    def look_again(self) -> None:
        """It ended; a container may have come back with another process."""
        try:
            process = find(self.target)
        except WatchError:
            return
        if process != self.process:
            self.process, self.children = process, {}
            self.restarts += 1

    def growth(self) -> dict[str, float]:
        """Memory (MB) and open files by which it grows in an hour; the first third of the samples
        is left out as warm-up. Empty for less than ten samples. What grew by less than 5 MB, or by
        less than ten files, in the whole run is no trend."""
        first = len(self.seconds) // 3
        seconds = self.seconds[first:]
        if len(seconds) < 10:
            return {}
        growth = {}
        for key, values, least in (("memory", self.memory, 5), ("files", self.files, 10)):
            slope = linear_regression(seconds, values[first:]).slope
            growth[key] = slope * 3600 if slope * (seconds[-1] - seconds[0]) >= least else 0.0
        return growth


def parse(text: str) -> list[Watched]:
    """`backend-py=container:ID,backend-node=pid:NUMBER`. Raises WatchError."""
    return [Watched(*entry.partition("=")[::2]) for entry in text.split(",") if entry]


def find(target: str) -> psutil.Process:
    kind, _, value = target.partition(":")
    if kind == "container":
        value = pid_of(value)
    elif kind != "pid" or not value.isdigit():
        raise WatchError(f"--watch: {target!r} is not container:ID or pid:NUMBER; see --help")
    try:
        process = psutil.Process(int(value))
        process.num_fds()
    except psutil.NoSuchProcess:
        raise WatchError(
            f"--watch: no process {value} for {target}; a container can be watched only on the "
            "machine of its engine"
        ) from None
    except psutil.AccessDenied:
        raise WatchError(f"--watch: {target} runs as another user; use sudo") from None
    return process


def pid_of(container: str) -> str:
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WatchError(f"--watch: docker can't be asked: {error}") from None
    if done.returncode or done.stdout.strip() == "0":
        raise WatchError(f"--watch: no running container {container}")
    return done.stdout.strip()


def traffic(pid: int) -> float:
    """MB through the interfaces of a process's network, of a container thus its own; without lo."""
    total = 0
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]:
        interface, numbers = line.split(":")
        if interface.strip() != "lo":
            fields = numbers.split()
            total += int(fields[0]) + int(fields[8])  # bytes received, sent. Source: proc(5)
    return total / 1e6
