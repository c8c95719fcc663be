"""How fast pages paint, and whether the live page keeps up with many live sessions: `python -m tests.console.bench_console`.

Plays output records of so many sessions at once (no worker, no model: what is measured is the console and the browser) to the topics of
`--kafka` under a prefix of its own, starts a console on them, opens the live page and measures for a while, in the page:

    behind       wall clock minus the moment the newest numbers on the page were made, and how old the newest drawn item is
    frames       drawn a second, and the longest task of the page's main thread
    events       server-sent events a second: the budget is 50
Prints JSON.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer
from playwright.sync_api import Page, sync_playwright

from deploy.local import broker as embedded
from deploy.local import topics
from deploy.local.ports import free_port
from schemas.codec import encoder
from tests.console import browser as browsers
from tests.console.events import answer, boundary, item

WORDS = [
    "the",
    "rain",
    "fell",
    "all",
    "night",
    "and",
    "then",
    "a",
    "market",
    "opened",
    "with",
    "prices",
    "that",
    "rose",
    "sharply",
    "because",
    "nobody",
    "had",
    "seen",
    "it",
    "coming",
]
LABELS = ("Flights", "Hotels", "Music", "Weather", "GENHX", "PLAN", "other")
WATCH = """() => {
  window.longest = 0; window.behind = []; const s = window.strataLive;
  new PerformanceObserver((list) => { for (const e of list.getEntries()) longest = Math.max(longest, e.duration); }).observe({entryTypes: ['longtask']});
  window.started = {at: performance.now(), events: s.events, frames: s.frames};
  setInterval(() => behind.push(Date.now() / 1000 - s.gauges.now), 250);
}"""
TOLD = """() => { const s = window.strataLive, seconds = (performance.now() - started.at) / 1000; behind.sort((a, b) => a - b);
  return {live: s.live.length, drawn: s.cards.size, events_per_s: (s.events - started.events) / seconds, frames_per_s: (s.frames - started.frames) / seconds,
    longest_task_ms: longest, behind_p50_s: behind[Math.floor(behind.length / 2)], behind_max_s: behind[behind.length - 1],
    items_per_s: s.gauges.items_per_s, jumped_over: s.gauges.skipped, heap_mb: (performance.memory?.usedJSHeapSize ?? 0) / 1e6}; }"""


async def play(bootstrap: str, prefix: str, sessions: int, per_s: float, seconds: float) -> int:
    """Items of all sessions in turn, with boundaries and labels as a text has them. Returns how many records."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    await producer.start()
    encode = {name: encoder(name) for name in ("input_stream", "boundaries", "predictions")}
    draw, positions, sent, begun, number = random.Random(1), [0] * sessions, 0, time.monotonic(), 0
    try:
        while time.monotonic() - begun < seconds:
            session, name = number % sessions, f"live-{number % sessions:04d}"
            at = positions[session]
            records: list[tuple[str, str, Any]] = [("input-stream", "input_stream", item(at, draw.choice(WORDS) + " ", name))]
            if at and at % 9 == 0:
                records.append(("boundaries", "boundaries", boundary("sentence", at, session=name)))
            if at and at % 45 == 0:
                records.append(("boundaries", "boundaries", boundary("topic", at, session=name)))
            if at % 5 == 4:
                start = at // 45 * 45
                records.append(
                    (
                        "predictions",
                        "predictions",
                        answer("topic", start, at + 1, draw.choice(LABELS), at, False, name, latency_ms=draw.expovariate(1 / 20)),
                    )
                )
            for topic, record, event in records:
                await producer.send(prefix + topic, value=encode[record](event), key=name.encode())
            positions[session], number, sent = at + 1, number + 1, sent + len(records)
            if (early := begun + number / per_s - time.monotonic()) > 0:
                await asyncio.sleep(early)
    finally:
        await producer.stop()
    return sent


def paint(page: Page, url: str) -> float:
    page.goto(url)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    prefix, port = f"bench-{uuid.uuid4().hex[:8]}-", free_port()
    topics.create_missing(arguments.kafka, prefix, 8)
    environ = {**os.environ, "STRATA_KAFKA_BOOTSTRAP": arguments.kafka, "STRATA_TOPIC_PREFIX": prefix, "STRATA_CONSOLE_PORT": str(port)}
    console = subprocess.Popen([sys.executable, "-m", "sinks.console"], env=environ, stderr=subprocess.DEVNULL)
    player = None
    found = browsers.find(os.environ, embedded.default_cache_dir(os.environ))
    try:
        with sync_playwright() as playwright:
            started = playwright.chromium.launch(
                executable_path=str(found.path), env={**os.environ, **found.environ}, args=["--no-sandbox"]
            )
            page = started.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
            url = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    page.goto(f"{url}/healthz")
                    break
                except Exception:
                    time.sleep(0.2)
            time.sleep(3)  # the feed has its partitions
            words = [sys.executable, "-m", "tests.console.bench_console", "--play", prefix, "--kafka", arguments.kafka]
            words += ["--sessions", str(arguments.sessions), "--per-s", str(arguments.per_s), "--seconds", str(arguments.seconds + 25)]
            player = subprocess.Popen(words)
            page.goto(url)
            page.wait_for_function(f"window.strataLive && strataLive.live.length >= {arguments.sessions}", timeout=60_000)
            page.evaluate(WATCH)
            process = psutil.Process(console.pid)
            before = process.cpu_times()
            time.sleep(arguments.seconds)
            told: dict[str, Any] = page.evaluate(TOLD)
            after = process.cpu_times()
            told["console_cpu_share"] = (after.user + after.system - before.user - before.system) / arguments.seconds
            told["console_memory_mb"] = process.memory_info().rss / 1e6
            told["first_paint_under_load_ms"] = min(paint(page, url) for _ in range(5))
            started.close()
    finally:
        for child in (player, console):
            if child:
                child.terminate()
                child.wait()
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in told.items()}


def paints(url: str) -> dict[str, list[int]]:
    """First paint of each page of a running console, milliseconds, five times."""
    found = browsers.find(os.environ, embedded.default_cache_dir(os.environ))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(found.path), env={**os.environ, **found.environ}, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        page.goto(f"{url}/sessions")
        session = page.locator("td a.name").first.get_attribute("href") or "/"
        told = {
            path: sorted(round(paint(page, url + path)) for _ in range(5))
            for path in ("/", "/sessions", session, "/evaluation", "/traces", "/try")
        }
        started.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="127.0.0.1:9092", metavar="HOST:PORT")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--per-s", type=float, default=500.0, help="items a second, all sessions together")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--paint", metavar="URL", help="only the first paint of each page of a running console")
    parser.add_argument("--play", metavar="PREFIX", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play:
        asyncio.run(play(arguments.kafka, arguments.play, arguments.sessions, arguments.per_s, arguments.seconds))
        return
    os.chdir(Path(__file__).parents[2])
    print(json.dumps(paints(arguments.paint) if arguments.paint else measure(arguments), indent=1))


if __name__ == "__main__":
    main()
