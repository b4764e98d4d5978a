"""Ports that nobody else takes."""

import os
import random
import socket
import time
from pathlib import Path

from common import Failure


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def ports_to_choose_from():
    """Those of CONCORDAT_PORTS, such as 10300-10599, so that tests side by side do not meet; without it
    all below the range that the kernel lends to outgoing connections.

    In that range another program's connection could take the port while the broker is down, and a
    client that keeps trying to reach a dead broker can even connect to itself.
    """
    named = os.environ.get("CONCORDAT_PORTS")
    if named:
        first, _, last = named.partition("-")
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise Failure(f"CONCORDAT_PORTS: found {named!r}, expected two port numbers such as 10300-10599")
        return range(int(first), int(last) + 1)
    try:
        lent_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        lent_from = 32768
    return range(10000, max(lent_from, 10100))


held = []  # sockets


def hold_port(port):
    """Takes a port that nobody has, for as long as this program runs: who looks for one as this does
    finds it taken, who means to listen there may. False where somebody has it.
    """
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return False
    # Only now: before, it would have met with others of its kind.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.append(holder)
    return True


def free_port(taken):
    """Picks a free port, none of those taken, and holds it: programs that start at the same time pick
    different ones.
    """
    ports = ports_to_choose_from()
    for _ in range(1000):
        port = random.choice(ports)
        if port not in taken and hold_port(port):
            return port
    raise Failure(f"found no free port on 127.0.0.1 of {ports[0]} to {ports[-1]} in 1000 tries; expected one; "
                  "name one with --port and --controller-port")


def await_port(port):
    """A predecessor's port is free again some milliseconds after it ended."""
    deadline = time.monotonic() + 5
    while not port_is_free(port):
        if time.monotonic() > deadline:
            raise Failure(f"found port {port} in use; expected it free, for this broker served "
                          "there before or was told to; stop the other program or name another "
                          "--port")
        time.sleep(0.02)
