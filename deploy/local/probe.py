"""Does a server answer? The broker by Kafka's own protocol, the sink over HTTP, a worker by its ready file.

Knows how to ask once; leaves asking again and giving up to the caller.
Next: deploy/local/supervisor.py
"""

import asyncio
import json
import logging
import socket
import urllib.error
import urllib.request
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local import processes

ASK_TIMEOUT_S = 3.0
CLOCK_SLACK_S = 0.5
"""The kernel tells the start of a process less exactly than the time of a file."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def port_answers(host: str, port: int) -> bool:
    """Does anything accept a connection?"""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def split_address(address: str, default_port: int = 9092) -> tuple[str, int]:
    """Host and port of the first address in a list."""
    first = address.split(",")[0].strip()
    host, _, port = first.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (first, default_port)


def is_loopback(bootstrap: str) -> bool:
    """Is it one address of this machine alone?"""
    return "," not in bootstrap and split_address(bootstrap)[0] in LOOPBACK


def kafka_nodes(bootstrap: str) -> int | None:
    """How many brokers the cluster names (ApiVersions and metadata through the client), None when nobody answers."""
    if not port_answers(*split_address(bootstrap)):
        return None
    return asyncio.run(_kafka_nodes(bootstrap))


async def _kafka_nodes(bootstrap: str) -> int | None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs an error for every try before the broker is up
    client = AIOKafkaClient(bootstrap_servers=bootstrap, client_id="strata-probe", request_timeout_ms=int(ASK_TIMEOUT_S * 1000))
    try:
        await asyncio.wait_for(client.bootstrap(), ASK_TIMEOUT_S)
        return len(client.cluster.brokers()) or None
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await client.close()


def http_says_ok(host: str, port: int, path: str = "/") -> bool:
    """Does a server answer `Ok.`: ClickHouse on `/`, the console on `/healthz`?"""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=ASK_TIMEOUT_S) as answer:
            return answer.read(16).strip() == b"Ok."
    except (urllib.error.URLError, OSError, ValueError):
        return False


def ready_file_speaks_for(path: Path, pid: int) -> bool:
    """Does a ready file belong to this process: it names the pid (`{"pid": 12}`), or names none and was written after its start?"""
    try:
        text, written = path.read_text(encoding="utf-8"), path.stat().st_mtime
        named = json.loads(text).get("pid")
        return bool(named == pid)
    except OSError:
        return False
    except (ValueError, AttributeError):
        started = processes.identity(pid)
        return started is not None and written >= started - CLOCK_SLACK_S
