"""The server's side of a run: CPU, memory and open files of the Spaces, sampled once a second."""

import subprocess
from dataclasses import dataclass, field
from statistics import linear_regression

import psutil


class WatchError(ValueError):
    """--watch cannot be followed; the text says why and what to do."""


@dataclass
class Watched:
    """One Space: its main process and that one's children."""

    name: str
    process: psutil.Process
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # of one core
    memory: list[float] = field(default_factory=list)  # MB, resident
    files: list[float] = field(default_factory=list)  # open files and connections
    children: dict[int, psutil.Process] = field(default_factory=dict)

    def clear(self) -> None:
        for series in (self.seconds, self.cpu, self.memory, self.files):
            series.clear()

    def sample(self, second: float) -> None:
        try:
            found = [self.process, *self.process.children(recursive=True)]
            # The same objects as before: psutil measures CPU since an object's previous call.
            self.children = {p.pid: self.children.get(p.pid, p) for p in found}
            family = self.children.values()
            cpu = sum(p.cpu_percent() for p in family) / 100
            memory = sum(p.memory_info().rss for p in family) / 1e6
            files = float(sum(p.num_fds() for p in family))
        except psutil.Error:
            return  # it ended; the failures of its requests tell
        self.seconds.append(second)
        self.cpu.append(cpu)
        self.memory.append(memory)
        self.files.append(files)

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
    watched = []
    for entry in filter(None, text.split(",")):
        name, _, target = entry.partition("=")
        kind, _, value = target.partition(":")
        if kind == "container":
            value = _pid_of(value)
        if kind not in ("container", "pid") or not value.isdigit():
            raise WatchError(f"--watch: {entry!r} is not NAME=container:ID or NAME=pid:NUMBER")
        try:
            watched.append(Watched(name, psutil.Process(int(value))))
            watched[-1].process.num_fds()
        except psutil.NoSuchProcess:
            raise WatchError(
                f"--watch: {entry!r}: no process {value} here; a container can be watched on the "
                "machine of its engine only"
            ) from None
        except psutil.AccessDenied:
            raise WatchError(
                f"--watch: {entry!r}: process {value} is not yours; use sudo"
            ) from None
    return watched


def _pid_of(container: str) -> str:
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WatchError(f"--watch: docker can't be asked: {error}") from None
    if done.returncode or done.stdout.strip() == "0":
        raise WatchError(f"--watch: no running container {container}")
    return done.stdout.strip()
