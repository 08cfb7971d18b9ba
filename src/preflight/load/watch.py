"""Samples CPU, memory, network, open files, connections and disk of the Spaces once a second."""

import json
import os
import subprocess
import time
from pathlib import Path
from statistics import linear_regression
from typing import Any

import psutil

# Less growth than this in a whole run is not a trend.
LEAST = {"memory": 5, "files": 10, "connections": 10, "disk": 5}
# Seconds between two samples of a container's disk: the engine adds it up file by file.
DISK_EVERY = 5


class WatchError(ValueError):
    """The value of --watch is invalid; the text says why and what to do."""


class Watched:
    """A Space: a process (of a container, its first process) and its children.

    `target` is `container:ID` or `pid:NUMBER`; raises WatchError if it does not exist.
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
        self.network: list[float] = []  # MB so far, received and sent
        self.files: list[int] = []  # open files, connections among them
        self.connections: list[int] = []  # sockets
        self.disk: list[float] = []  # MB on the container's disk that it has written
        self.disk_due = 0.0

    def sample(self, second: float) -> None:
        try:
            found = [self.process, *self.process.children(recursive=True)]
            # Keep the objects: psutil measures CPU since an object's previous call.
            self.children = {p.pid: self.children.get(p.pid, p) for p in found}
            family = self.children.values()
            cpu = sum(p.cpu_percent() for p in family) / 100
            memory = sum(p.memory_info().rss for p in family) / 1e6
            files = [file for p in family for file in open_files(p.pid)]
            network = traffic(self.process.pid)
            disk = self.sample_disk()
        except (psutil.Error, OSError, WatchError):
            self.look_again()
            return
        self.seconds.append(second)
        self.cpu.append(cpu)
        self.memory.append(memory)
        self.network.append(network)
        self.files.append(len(files))
        self.connections.append(sum(file.startswith("socket:") for file in files))
        self.disk.append(disk)

    def sample_disk(self) -> float:
        """MB on the container's disk; 0 for a process outside a container."""
        kind, _, container = self.target.partition(":")
        if kind == "container" and time.monotonic() >= self.disk_due:
            self.disk_due = time.monotonic() + DISK_EVERY
            return written(container, self.process.pid)
        return self.disk[-1] if self.disk else 0.0

    def look_again(self) -> None:
        """Find the process again: a restarted container has another process."""
        try:
            process = find(self.target)
        except WatchError:
            return
        if process != self.process:
            self.process, self.children = process, {}
            self.restarts += 1

    def growth(self) -> dict[str, float]:
        """The growth of each key of LEAST in an hour, without the first third of the samples (warm-up).
        Empty for fewer than ten samples."""
        first = len(self.seconds) // 3
        seconds = self.seconds[first:]
        if len(seconds) < 10:
            return {}
        growth = {}
        for key, least in LEAST.items():
            slope = linear_regression(seconds, getattr(self, key)[first:]).slope
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
    return str(inspect(container)["State"]["Pid"])


def inspect(container: str, *options: str) -> Any:
    """The engine's description of a running container. Raises WatchError."""
    command = ["docker", "inspect", *options, container]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WatchError(f"--watch: docker inspect failed: {error}") from None
    if done.returncode or not (found := json.loads(done.stdout)[0])["State"]["Running"]:
        raise WatchError(f"--watch: no running container {container}")
    return found


def written(container: str, pid: int) -> float:
    """MB that a container has written to its layer, its volumes and its tmpfs. The log does not count: the
    engine keeps it."""
    found = inspect(container, "--size")
    mounts = [mount["Destination"] for mount in found["Mounts"] if mount["RW"]]
    mounts += found["HostConfig"].get("Tmpfs") or {}
    # A process's files as the process sees them. Source: proc(5), /proc/[pid]/root
    total = sum(size_of(Path(f"/proc/{pid}/root{mount}")) for mount in mounts)
    return (total + int(found.get("SizeRw") or 0)) / 1e6


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; files that disappear meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(f"{parent}/{name}").st_size
            except OSError:
                continue
    return total


def open_files(pid: int) -> list[str]:
    """The open files of a process: `socket:[inode]`, a path …"""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def traffic(pid: int) -> float:
    """MB through the interfaces of a process's network namespace, without lo."""
    total = 0
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]:
        interface, numbers = line.split(":")
        if interface.strip() != "lo":
            fields = numbers.split()
            total += int(fields[0]) + int(fields[8])  # bytes received, sent. Source: proc(5)
    return total / 1e6
