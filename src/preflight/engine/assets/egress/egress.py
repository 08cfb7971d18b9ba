"""The network of one Space: reports each outgoing connection, and refuses what the profile does not let out.

    docker run --cap-add NET_ADMIN … egress.py [PORT …]      then: docker run --network container:… SPACE

The container owns the network, the Space's container joins it: nothing is needed inside the Space's
image, and nothing is missed at its start. Prints one JSON line when ready, then one for each host
name looked up and for each new address and port connected to:

    {"ready": true}
    {"name": "db.example.com"}
    {"address": "192.0.2.1", "port": 5432, "protocol": "tcp", "refused": true}

PORT: where a Space may connect to; anything else fails at once with "[Errno 101] Network is unreachable",
as users of the Hub report. Without any, nothing is refused. Name servers stay in reach. Loopback is
not the outside.
--silent PORT: also accept connections on that loopback port and never answer them, until SIGUSR1:
they are closed then, and further ones are refused.
--failing PORT: also answer every HTTP request to that port with 500, in the place of a Space.
"""

from __future__ import annotations

import argparse
import errno
import http.server
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

# Priority raw comes before Docker's own rewriting of what goes to its name server, 127.0.0.11.
RULES = """
table inet egress {
    chain output {
        type filter hook output priority raw; policy accept;
        udp dport 53 log prefix "name" group GROUP queue-threshold 1 accept
        tcp dport 53 accept
        oif lo accept
        FENCE
    }
}
"""
FENCED = """\
        tcp flags & (syn | ack) == syn tcp dport { PORTS } log prefix "connected" group GROUP queue-threshold 1 accept
        tcp flags & (syn | ack) == syn log prefix "refused" group GROUP queue-threshold 1 reject with icmpx no-route
        meta l4proto udp udp dport != { PORTS } log prefix "refused" group GROUP queue-threshold 1 reject with icmpx no-route
"""
OPEN = """\
        tcp flags & (syn | ack) == syn log prefix "connected" group GROUP queue-threshold 1 accept
        meta l4proto udp ct state new log prefix "connected" group GROUP queue-threshold 1 accept
"""
GROUP = 1
# A Space that connects without end must not fill the disk with reports.
MOST_REPORTED = 1000
# More than the headers and the longest host name.
FIRST_BYTES = 512

# The kernel's log over a netlink socket: linux/netfilter/nfnetlink_log.h.
NETLINK_NETFILTER, LOG, PACKET, CONFIG, REQUEST = 12, 4, 0, 1, 1
CONFIG_COMMAND, CONFIG_MODE, BIND, COPY_PACKET = 1, 2, 1, 2
PAYLOAD, PREFIX = 9, 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", nargs="*", type=int)
    parser.add_argument("--silent", type=int)
    parser.add_argument("--failing", type=int)
    options = parser.parse_args()
    if options.silent:
        sink = socket.create_server(("127.0.0.1", options.silent))
        # Unlike close, it also ends the `accept` that waits in the other thread.
        signal.signal(signal.SIGUSR1, lambda *_: sink.shutdown(socket.SHUT_RDWR))
        threading.Thread(target=hold, args=(sink,), daemon=True).start()
    if options.failing:
        server = http.server.ThreadingHTTPServer(("", options.failing), Failing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    # Before the rules, so that no line of the log is missed.
    log = kernel_log()
    rules = RULES.replace("FENCE", FENCED if options.ports else OPEN).replace("GROUP", str(GROUP))
    rules = rules.replace("PORTS", ", ".join(map(str, options.ports)))
    loaded = subprocess.run(["nft", "--file", "-"], input=rules, text=True, stderr=subprocess.PIPE)
    if loaded.returncode != 0:
        sys.exit(
            "the rules for outgoing connections can't be loaded. The container needs --cap-add "
            f"NET_ADMIN, the engine's kernel nf_tables. nft says: {loaded.stderr.strip()[:300]}"
        )
    print(json.dumps({"ready": True}), flush=True)
    reported: set[str] = set()
    for rule, packet in logged(log):
        line = json.dumps(
            asked(packet) if rule == "name" else connection(packet, rule == "refused")
        )
        if line not in reported and len(reported) < MOST_REPORTED:
            reported.add(line)
            print(line, flush=True)


def asked(packet: bytes) -> dict[str, object]:
    """The host name in a DNS request."""
    _, _, transport = network(packet)
    labels, at = [], 8 + 12
    while at < len(transport) and transport[at]:
        labels.append(transport[at + 1 : at + 1 + transport[at]].decode("ascii", "replace"))
        at += 1 + transport[at]
    return {"name": ".".join(labels)}


def connection(packet: bytes, refused: bool) -> dict[str, object]:
    """The destination of a connection's first packet."""
    address, protocol, transport = network(packet)
    port = struct.unpack_from("!H", transport, 2)[0]
    return {
        "address": address,
        "port": port,
        "protocol": "udp" if protocol == socket.IPPROTO_UDP else "tcp",
        "refused": refused,
    }


def network(packet: bytes) -> tuple[str, int, bytes]:
    """Destination, protocol and payload of an IP packet."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        return socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[9], packet[header:]
    return socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[6], packet[40:]


def kernel_log() -> socket.socket:
    """The kernel's log of GROUP, with the first bytes of each packet."""
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    log.bind((0, 0))
    for kind, value in (
        (CONFIG_COMMAND, struct.pack("B", BIND)),
        (CONFIG_MODE, struct.pack("!IBB", FIRST_BYTES, COPY_PACKET, 0)),
    ):
        attribute = struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, GROUP) + attribute
        log.send(struct.pack("IHHII", 16 + len(body), LOG << 8 | CONFIG, REQUEST, 0, 0) + body)
    return log


def logged(log: socket.socket) -> Iterator[tuple[str, bytes]]:
    """The prefix of the rule that logged it, and the packet, for each one in the kernel's log."""
    while True:
        try:
            messages = log.recv(1 << 16)
        except OSError as error:
            # A flood: the kernel has dropped packets.
            if error.errno == errno.ENOBUFS:
                continue
            raise
        while len(messages) >= 16:
            length, kind = struct.unpack_from("IH", messages)
            if kind == LOG << 8 | PACKET:
                found = dict(attributes(messages[20:length]))
                yield found[PREFIX].rstrip(b"\0").decode(), found[PAYLOAD]
            messages = messages[length + -length % 4 :]


def attributes(message: bytes) -> Iterator[tuple[int, bytes]]:
    while len(message) >= 4:
        length, kind = struct.unpack_from("HH", message)
        yield kind, message[4:length]
        message = message[length + -length % 4 :]


def hold(sink: socket.socket) -> None:
    held = []
    with suppress(OSError):
        while True:
            held.append(sink.accept())
    for connection, _ in held:
        connection.close()


class Failing(http.server.BaseHTTPRequestHandler):
    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        self.close_connection = True
        if self.raw_requestline and self.parse_request():
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()


if __name__ == "__main__":
    main()
