"""Watches a Space's network from beside it: what it dials from its first packet on, where it listens.

A container of its own owns the network namespace and the published port; the Space's container
joins it. So nothing is needed inside the Space's image, and nothing is missed at its start.
"""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass

import engine

from preflight.docker import DockerError, docker
from preflight.image import stand_in
from preflight.run import Run

# Any image with a Python will do; this one is the base of one of the Spaces.
IMAGE = "python:3.11-slim-bookworm"
# The port at which a dependency that accepts and never answers may be rehearsed ("discard", RFC 863).
SILENT_PORT = 9


@dataclass(frozen=True)
class Connection:
    """An outgoing TCP connection that was attempted; `names` are the host names looked up before it."""

    address: str
    port: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        looked_up = f" (looked up before: {', '.join(self.names[-3:])})" if self.names else ""
        return f"{self.address} port {self.port}{looked_up}"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Observer:
    """The container that owns a Space's network."""

    def __init__(self, container_id: str) -> None:
        self.id = container_id

    @classmethod
    def start(cls, run: Run, port: int, silent: bool = False, failing: bool = False) -> Observer:
        """Start watching, with `port` published on this machine.

        silent: also accept connections on loopback port 9 and never answer them.
        failing: also answer every HTTP request to `port` with 500, in the place of a Space.
        Raises DockerError when the observer does not get ready within 20 s.
        """
        address = "127.0.0.1" if engine.host() == "127.0.0.1" else "0.0.0.0"
        arguments = ["silent", str(SILENT_PORT)] if silent else []
        arguments += ["failing", str(port)] if failing else []
        done = docker(
            "run", "--detach", *run.labels, "--no-healthcheck", "--user=0", "--memory=64m",
            f"--publish={address}::{port}", "--entrypoint=python", stand_in(IMAGE) or IMAGE,
            "-u", "-c", WATCH, *arguments,
        )  # fmt: skip
        observer = cls(done.stdout.split()[-1])
        deadline = time.monotonic() + 20
        while not observer._reports():
            if time.monotonic() > deadline:
                said = docker("logs", observer.id, check=False).stderr
                observer.remove()
                raise DockerError(f"the network observer does not get ready: {said[-500:]}")
            time.sleep(0.02)
        return observer

    def connections(self) -> list[Connection]:
        """Where the Space has dialled so far, each address and port once; loopback is left out."""
        names: list[str] = []
        found = []
        for report in self._reports():
            if "name" in report:
                names.append(str(report["name"]))
            elif "address" in report:
                port = int(str(report["port"]))
                found.append(Connection(str(report["address"]), port, tuple(names)))
        return found

    def listening(self) -> list[Listener]:
        """The listening sockets of now, the observer's own left out."""
        tables = docker("exec", self.id, "cat", "/proc/net/tcp", "/proc/net/tcp6").stdout
        return [one for one in listeners(tables) if (one.loopback, one.port) != (True, SILENT_PORT)]

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id, check=False)

    def _reports(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in docker("logs", self.id).stdout.splitlines()]


def listeners(tables: str) -> list[Listener]:
    """The listening sockets in the text of /proc/net/tcp and tcp6. Source: proc_pid_net(5)."""
    found = []
    for line in tables.splitlines():
        fields = line.split()
        # State 0A is LISTEN.
        if len(fields) < 4 or fields[3] != "0A":
            continue
        packed, _, port = fields[1].partition(":")
        words = bytes.fromhex(packed)
        # Each 32-bit word is printed in the machine's own order: little-endian on amd64.
        address = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
        ip = ipaddress.ip_address(address)
        mapped = getattr(ip, "ipv4_mapped", None)
        found.append(Listener(str(mapped or ip), int(port, 16)))
    return list(dict.fromkeys(found))


# Runs in the observer: prints one JSON line when ready, for each host name asked of a DNS server,
# and for each new (address, port) that is dialled. The kernel hands over only those packets, so
# that a Space under load is not slowed down.
WATCH = r"""
import ctypes, http.server, json, socket, struct, sys, threading

class Failing(http.server.BaseHTTPRequestHandler):
    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        self.close_connection = True
        if self.raw_requestline and self.parse_request():
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

def hold(sink, held):
    while True:
        held.append(sink.accept())

for kind, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    if kind == "silent":
        work, given = hold, (socket.create_server(("127.0.0.1", port)), [])
    else:
        server = http.server.ThreadingHTTPServer(("", port), Failing)
        work, given = server.serve_forever, ()
    threading.Thread(target=work, args=given, daemon=True).start()

# Classic BPF, as in linux/filter.h: (operation, jump if true, jump if false, constant).
LOAD, LOAD_BYTE, LOAD_HALF, AND = 0x20, 0x30, 0x28, 0x54
HEADER_LENGTH, INDEXED_BYTE, INDEXED_HALF, EQUAL, RETURN = 0xB1, 0x50, 0x48, 0x15, 0x06
PACKET_TYPE, OUTGOING, TCP, UDP, DNS = 0xFFFFF004, 4, 6, 17, 53
program = [
    (LOAD, 0, 0, PACKET_TYPE),
    (EQUAL, 0, 22, OUTGOING),
    (LOAD_BYTE, 0, 0, 0),
    (AND, 0, 0, 0xF0),
    (EQUAL, 0, 9, 0x40),
    # IPv4: the first packet of a TCP connection (SYN without ACK), or a question to a DNS server
    (HEADER_LENGTH, 0, 0, 0),
    (LOAD_BYTE, 0, 0, 9),
    (EQUAL, 0, 3, TCP),
    (INDEXED_BYTE, 0, 0, 13),
    (AND, 0, 0, 0x12),
    (EQUAL, 12, 13, 0x02),
    (EQUAL, 0, 12, UDP),
    (INDEXED_HALF, 0, 0, 2),
    (EQUAL, 9, 10, DNS),
    # IPv6: the same
    (EQUAL, 0, 9, 0x60),
    (LOAD_BYTE, 0, 0, 6),
    (EQUAL, 0, 3, TCP),
    (LOAD_BYTE, 0, 0, 53),
    (AND, 0, 0, 0x12),
    (EQUAL, 3, 4, 0x02),
    (EQUAL, 0, 3, UDP),
    (LOAD_HALF, 0, 0, 42),
    (EQUAL, 0, 1, DNS),
    (RETURN, 0, 0, 0xFFFF),
    (RETURN, 0, 0, 0),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
SO_ATTACH_FILTER = 26
packets.setsockopt(
    socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code))
)
# What came in before the filter was attached.
packets.setblocking(False)
try:
    while True:
        packets.recv(65535)
except BlockingIOError:
    packets.setblocking(True)
seen = set()

def tell(**report):
    key = tuple(report.values())
    # A Space that dials without end must not fill the disk with reports.
    if key not in seen and len(seen) < 1000:
        seen.add(key)
        print(json.dumps(report), flush=True)

def asked(query):
    labels, at = [], 12
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    return ".".join(labels)

tell(ready=True)
while True:
    packet, (interface, *_) = packets.recvfrom(65535)
    if interface == "lo":
        continue
    if packet[0] >> 4 == 4:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        address = socket.inet_ntop(socket.AF_INET, packet[16:20])
    else:
        header, protocol = 40, packet[6]
        address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    if protocol == 6:
        tell(address=address, port=struct.unpack_from("!H", packet, header + 2)[0])
    else:
        tell(name=asked(packet[header + 8 :]))
"""
