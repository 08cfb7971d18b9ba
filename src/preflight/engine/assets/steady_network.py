#!/usr/bin/env python3
"""Run the program that PROGRAM names, for which this machine's network never changes.

Each container that starts or ends adds or removes a network interface of this machine, and Chromium
then breaks off what it is loading (net::ERR_NETWORK_CHANGED). It learns of that over a netlink
socket; without one it takes the network to be as it is. Elsewhere than on Linux it just runs.
"""

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys

# The machine's number in linux/audit.h and that of its system call `socket`.
MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
AF_NETLINK = 16
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# Classic BPF over struct seccomp_data, as in linux/seccomp.h.
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
CALL, MACHINE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT


def refuse_netlink() -> None:
    """Let `socket(AF_NETLINK, …)` fail from now on, here and in all children."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return
    machine, call = MACHINES[platform.machine()]
    program = [
        (LOAD, 0, 0, MACHINE),
        (EQUAL, 0, 5, machine),
        (LOAD, 0, 0, CALL),
        (EQUAL, 0, 3, call),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 0, 1, AF_NETLINK),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    )
    filter_ = ctypes.create_string_buffer(struct.pack("HL", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0)


if __name__ == "__main__":
    refuse_netlink()
    # Playwright talks to the browser over further open files, and ends both by their process group.
    command = [os.environ["PROGRAM"], *sys.argv[1:]]
    sys.exit(subprocess.run(command, close_fds=False).returncode)
