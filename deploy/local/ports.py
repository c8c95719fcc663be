"""Ports of the stack: is one free, who holds it, which are free.

Knows sockets of this machine; leaves which process needs which port to plan.py.
Above 32768 the kernel hands out ports to clients, and a retrying client can then connect to itself: only lower ones are given.
Next: deploy/local/processes.py
"""

import random
import socket

import psutil

from deploy.errors import PortTakenError

LOWEST, HIGHEST = 20000, 32000
"""Free ports are drawn between these."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Can a server listen there now?"""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(avoid: frozenset[int] | set[int] = frozenset(), host: str = "127.0.0.1") -> int:
    """A free port between LOWEST and HIGHEST, none of `avoid`."""
    draw = random.SystemRandom()
    for _ in range(500):
        port = draw.randrange(LOWEST, HIGHEST)
        if port not in avoid and is_free(port, host):
            return port
    raise PortTakenError(f"no free port between {LOWEST} and {HIGHEST} on {host}; name one with --kafka-port or --clickhouse-http-port")


def holder(port: int) -> str:
    """Who listens there, as `name (pid 123)`; empty when that cannot be seen."""
    try:
        connections = psutil.net_connections(kind="inet")
    except (psutil.Error, OSError):
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return ""


def require_free(port: int, what: str, flag: str, host: str = "127.0.0.1") -> None:
    """Raises PortTakenError, with who holds it and what to do."""
    if not is_free(port, host):
        by = holder(port)
        raise PortTakenError(
            f"port {port} for the {what} is taken"
            + (f" by {by}" if by else "")
            + f"; stop that, choose another with {flag}, or ask for --free-ports"
        )
