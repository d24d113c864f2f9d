"""Importing this module cuts this Python off from everything but the machine it runs on.

What reaches out gets the error of a machine that is unplugged. An attempt is also written to the file that
GPTLIB_NETWORK_LOG names, if any, so that code which swallows the error and goes on is found out all the same.

The guard is an audit hook: it sees every call of `socket`, however the caller came by it, and nothing takes
it down. Libraries that are written in C and speak to the network without Python's `socket` are beyond it.
"""

import errno
import ipaddress
import os
import sys

WATCHED = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}


def is_here(host) -> bool:
    """Whether `host`, a name or an address as `socket` takes them, is this machine."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost", os.uname().nodename if hasattr(os, "uname") else None):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def guard(event: str, arguments: tuple) -> None:
    """The audit hook: raises OSError where a call of `socket` would leave this machine."""
    if event not in WATCHED:
        return
    target = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if not isinstance(target, tuple):  # a Unix socket's path, or a socket that is connected already
            return
        target = target[0]
    if is_here(target):
        return
    log = os.environ.get("GPTLIB_NETWORK_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{event} {target!r} by {' '.join(sys.argv[:2]) or sys.executable}\n")
    raise OSError(errno.ENETUNREACH, f"the tests run without a network, and {event} asked for {target!r}")


sys.addaudithook(guard)
