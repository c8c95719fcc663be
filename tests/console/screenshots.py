"""The pictures of docs/console.md: `python -m tests.console.screenshots URL`, while `strata demo` plays into that console's stack.

Knows which page is shown how; colours are reduced so that each stays below 150 KB.
"""

import io
import os
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deploy.local import broker as embedded
from tests.console import browser as browsers

FOLDER = Path(__file__).parents[2] / "docs" / "console"
MOST_BYTES = 150_000
CHAT = """customer: Hi, I need a table for four tonight at seven.
agent: Sure. Which city, and what would you like to eat?
customer: San Jose, something Italian please.
agent: Trattoria Nonna has a table at seven. Shall I book it?
customer: Yes, thank you. I also need a flight to Denver tomorrow morning.
agent: There is one at 7:40 for 129 dollars, nonstop.
customer: Perfect, book one seat in economy.
"""


def keep(page: Page, name: str) -> None:
    """Shoot what is seen."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        out = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if len(out.getvalue()) < MOST_BYTES:
            break
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.png").write_bytes(out.getvalue())
    print(f"{name}.png {len(out.getvalue()):,} bytes, {colours} colours")


def first(page: Page, url: str, path: str, link: str) -> None:
    """Open the first thing a list names."""
    page.goto(url + path)
    page.goto(url + (page.locator(link).first.get_attribute("href") or "/"))


def main(url: str, only: list[str]) -> None:
    found = browsers.find(os.environ, embedded.default_cache_dir(os.environ))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(found.path), env={**os.environ, **found.environ}, args=["--no-sandbox"])

        def window(theme: str = "light", width: int = 1280, height: int = 800) -> Page:
            return started.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]

        def live(page: Page) -> None:
            page.goto(url)
            page.locator(".card").nth(3).wait_for(timeout=90_000)
            time.sleep(8)

        def evaluation(page: Page) -> None:
            page.goto(f"{url}/evaluation?days=0#q-stability")
            page.locator("#q-stability .dotrow").first.wait_for(timeout=60_000)
            time.sleep(4)
            page.locator("#q-partials").scroll_into_view_if_needed()
            time.sleep(3)

        def glance(page: Page) -> None:
            page.goto(f"{url}/evaluation?days=0")
            page.locator("#q-quality .dotrow").first.wait_for(timeout=60_000)
            time.sleep(4)

        def tried(page: Page) -> None:
            page.goto(f"{url}/try")
            page.get_by_role("radio", name="Chat").check()
            page.locator("#content").fill(CHAT)
            page.get_by_role("button", name="Read it").click()
            page.locator("#answers .answer").first.wait_for(timeout=60_000)
            time.sleep(4)

        shots = {
            "live": (window(), live),
            "live-dark": (window("dark"), live),
            "live-phone": (window("light", 390, 780), live),
            "sessions": (window(), lambda page: page.goto(f"{url}/sessions")),
            "session": (window(), lambda page: first(page, url, "/sessions?modality=tokens&search=visit", "td a.name")),
            "session-series": (window("dark"), lambda page: first(page, url, "/sessions?modality=metrics", "td a.name")),
            "session-log": (window(), lambda page: first(page, url, "/sessions?modality=logs&search=verification", "td a.name")),
            "evaluation": (window(), evaluation),
            "glance": (window(), glance),
            "versions": (window(), lambda page: page.goto(f"{url}/evaluation/versions")),
            "traces": (window(), lambda page: page.goto(f"{url}/traces?minutes=10080&order=newest")),
            "trace": (window(), lambda page: first(page, url, "/traces?minutes=10080&order=newest", "td a.name")),
            "try": (window(), tried),
        }
        for name, (page, open_it) in shots.items():
            if not only or name in only:
                open_it(page)
                time.sleep(1)
                keep(page, name)
        started.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
