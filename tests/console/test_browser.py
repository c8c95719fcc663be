"""The console in a real browser, on a real stack: what a person sees and does."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sinks import compare_pairs, comparisons
from tests.console.conftest import Console
from tests.sinks.evaluation_rows import prediction

pytestmark = [pytest.mark.broker, pytest.mark.browser, pytest.mark.timeout(300)]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
CHAT = "".join(
    f"{who}: {said}\n"
    for who, said in (
        ("customer", "I need a table for four tonight at seven, Italian food please."),
        ("agent", "Trattoria Nonna in San Jose has a table at seven. Shall I book this restaurant?"),
        ("customer", "Yes please, reserve the table."),
        ("agent", "Your table is booked. Anything else?"),
        ("customer", f"No, that is all. {HOSTILE}"),
        ("agent", "Have a good evening."),
    )
)
PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
PAGES = ("/", "/sessions", "/evaluation", "/traces", "/try", "/api")


@pytest.fixture(scope="module")
def read(console: Console, request: pytest.FixtureRequest) -> str:
    """A conversation that was read and stored; its session."""
    session = console.api("try", {"kind": "chat", "content": CHAT, "per_s": 20})["session_id"]
    wait = request.getfixturevalue("wait_long")
    wait(
        lambda: console.rows(
            f"SELECT 1 FROM predictions WHERE session_id = '{session}' AND JSONExtractString(output, 'level') = 'document'"
        ),
        "its end",
    )
    return str(session)


@pytest.fixture(scope="module")
def wait_long() -> Callable[..., None]:
    """As wait_until, for a module's fixtures."""

    def wait(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
            time.sleep(0.3)

    return wait


def test_a_stream_appears_while_it_is_read(console: Console, window: Callable[..., Page]) -> None:
    page = window("/")
    expect(page.locator("#connection")).to_have_text("live")
    text = "The rain fell all night. " * 20 + "\n\nThen the market opened, and prices rose sharply. " * 10
    session = console.api("try", {"kind": "text", "content": text, "per_s": 60})["session_id"]
    card = page.locator(f'article[data-key="tokens/{session}"]')
    expect(card).to_be_visible(timeout=60_000)
    expect(card.locator(".count")).to_have_text(re.compile(r"[1-9]\d* pieces"), timeout=60_000)
    drawn = "c => { const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return new Set(Array.from({length: p.length / 4}, (_, n) => p[4 * n] + ',' + p[4 * n + 1])).size }"
    assert card.locator("canvas").evaluate(drawn) > 3
    expect(page.locator("#feed li").first).to_be_visible()


def test_a_session_opens_and_its_hostile_text_is_text(read: str, window: Callable[..., Page]) -> None:
    page = window(f"/sessions?search={read}")
    expect(page).to_have_url(re.compile(f"/sessions/{read}$"))
    expect(page.locator("h1")).to_have_text(read)
    expect(page.locator(".reading")).to_contain_text(HOSTILE)
    assert page.locator(".reading img, .reading script").count() == 0
    assert page.locator(".strata rect").count() > 8
    expect(page.locator('[aria-label="Revisions"] .revision').first).to_be_visible()


def test_a_label_is_given_and_reaches_clickhouse(
    read: str, console: Console, window: Callable[..., Page], wait_long: Callable[..., None]
) -> None:
    page = window(f"/sessions/{read}")
    place = page.locator(".reading .judge").first
    label, about = place.get_attribute("data-label"), place.get_attribute("data-prediction")
    place.locator(".right").click()
    expect(page.locator("#said")).to_contain_text(f"Kept: {label} is right")
    kept = f"SELECT label, prediction_id FROM labels WHERE session_id = '{read}' AND task = 'topic' ORDER BY timestamp"
    thumbs = f"SELECT label, value FROM labels WHERE session_id = '{read}' AND task = 'feedback' ORDER BY timestamp"
    wait_long(lambda: console.rows(kept), "the label")
    assert console.rows(kept) == [{"label": label, "prediction_id": about}]
    # a correction after it: what was wrong, and what is right
    place.locator(".wrong").click()
    page.get_by_label("The right label").fill("Weather")
    page.keyboard.press("Enter")
    wait_long(lambda: len(console.rows(kept)) == 2, "the correction")
    assert console.rows(kept)[-1]["label"] == "Weather"
    assert console.rows(thumbs) == [{"label": label, "value": 1}, {"label": label, "value": 0}]

    def counted() -> bool:
        found = console.api("evaluation/questions/feedback?modality=chat")["rows"]
        return [(r["up"], r["down"], r["corrected"]) for r in found if r["task"] == "topic"] == [(0, 1, 1)]

    wait_long(counted, "the thumb in the evaluation: the last one, corrected", 150)


def test_a_text_that_is_tried_is_drawn_and_judged_while_it_is_read(
    window: Callable[..., Page], console: Console, wait_long: Callable[..., None]
) -> None:
    page = window("/try")
    page.get_by_role("radio", name="Chat").check()
    page.locator("#content").fill(CHAT)
    page.locator("#speed").select_option("100")
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("#watched-said")).to_contain_text("6 turns, complete", timeout=60_000)
    expect(page.locator("#answers .answer").first).to_be_visible()
    assert page.locator("#watched img").count() == 0
    page.locator("#answers .judge .right").first.click()
    expect(page.locator("#said")).to_contain_text("is right")
    session = page.locator("#watched-title a").inner_text()
    wait_long(lambda: console.rows(f"SELECT 1 FROM labels WHERE session_id = '{session}'"), "the label")


def test_a_table_that_is_none_is_told_with_its_line(window: Callable[..., Page]) -> None:
    page = window("/try")
    page.get_by_role("radio", name="CSV series").check()
    page.locator("#content").fill("cpu\n1\nhot\n")
    with page.expect_response("**/api/v1/try") as answer:
        page.get_by_role("button", name="Read it").click()
    assert answer.value.status == 422
    expect(page.locator("#said")).to_contain_text("line 3: 'hot' is not a number")


def test_a_slow_answer_leads_to_its_trace(read: str, window: Callable[..., Page], console: Console, wait_long: Callable[..., None]) -> None:
    wait_long(
        lambda: console.rows(f"SELECT 1 FROM otel_traces WHERE SpanAttributes['session.id'] = '{read}' AND SpanName = 'publish'"),
        "the trace",
    )
    page = window(f"/sessions/{read}")
    page.locator('[aria-label="Revisions"] .revision a').first.click()
    expect(page.locator(".span .label").first).to_contain_text("process chat")
    names = page.locator(".span .label").all_inner_texts()
    assert any(n.startswith("hierarchical_update") for n in names)
    page.locator("summary.span").first.click()
    expect(page.locator(".waterfall dd").first).to_be_visible()
    page.get_by_role("link", name=read).first.click()
    expect(page.locator("h1")).to_have_text(read)


def test_questions_are_drawn_and_a_row_is_a_filter_for_all(
    read: str, window: Callable[..., Page], console: Console, wait_long: Callable[..., None]
) -> None:
    wait_long(lambda: console.rows("SELECT 1 FROM hourly_answers WHERE modality = 'chat' LIMIT 1"), "the first sums", 150)
    page = window("/evaluation?days=0")
    latency = page.locator("#q-latency")
    latency.scroll_into_view_if_needed()
    expect(latency.locator(".dotrow").first).to_be_visible(timeout=60_000)

    def agrees() -> bool:
        """The oracle: the answers themselves, asked without the sums."""
        (told,) = console.api("evaluation/questions/latency?modality=chat&task=topic")["rows"]
        plain = "SELECT count() AS answers, max(latency_ms) AS max_ms FROM predictions WHERE modality = 'chat' AND task = 'topic'"
        return {k: told[k] for k in ("answers", "max_ms")} == console.rows(plain)[0]

    wait_long(agrees, "agreement of the figure with the answers themselves", 150)
    latency.get_by_text("SQL", exact=True).click()
    expect(latency.locator("pre")).to_contain_text("hourly_answers")
    latency.get_by_text("Rows", exact=True).click()
    latency.locator("td a", has_text="chat").first.click()
    expect(page).to_have_url(re.compile("modality=chat"))
    expect(page.locator("select[name=modality]")).to_have_value("chat")


def test_two_versions_are_compared_side_by_side_and_an_example_that_changed_leads_to_its_session(
    read: str, console: Console, window: Callable[..., Page]
) -> None:
    """What B says differently of two items of the session, as `strata replay` keeps it; one of them is labelled."""
    said = [
        [{"modality": "chat", "label": label} for label in labels]
        for labels in (["Hotels"] * 6, ["Hotels", "Restaurants", *["Hotels"] * 3, "Music"])
    ]
    sides = [
        compare_pairs.side([prediction(n, read, task="topic", model_version=version, **one) for n, one in enumerate(some)], [])
        for version, some in zip(("text-a", "text-b"), said, strict=True)
    ]
    truth = {(read, "topic", 1): "Restaurants", (read, "topic", 0): "Hotels"}
    found, changes = compare_pairs.differences(*sides, truth), compare_pairs.changed(*sides, truth)
    texts = {("chat", read, 5): HOSTILE, ("chat", read, 1): "Trattoria Nonna"}
    comparisons.keep(
        Path(console.environ["STRATA_DATA_DIR"]),
        comparisons.made(("text-a", "text-b"), ("shipped", "new/"), found, changes, texts, datetime.now(UTC)),
    )
    page = window("/evaluation?days=0")
    page.get_by_role("link", name="Two versions").click()
    expect(page.locator(".sides")).to_contain_text("text-b")
    accuracy = page.locator(".measures tr", has_text="accuracy")
    expect(accuracy).to_contain_text("only A 0, only B 1")
    expect(accuracy).to_contain_text("+50.0 points")
    assert accuracy.locator(".against .interval").count() == 1
    expect(page.locator(".example")).to_have_count(2)
    expect(page.locator(".example.unknown")).to_contain_text(HOSTILE)
    page.get_by_role("link", name="B is right").click()
    expect(page.locator(".example")).to_have_count(1)
    expect(page.locator(".example.won")).to_contain_text("Trattoria Nonna")
    page.locator(".example a").click()
    expect(page).to_have_url(re.compile(f"/sessions/{read}#item-1$"))
    expect(page.locator("#item-1")).to_be_in_viewport()
    for theme in ("light", "dark"):
        assert window("/evaluation/versions", color_scheme=theme).evaluate(CONTRAST) == [], theme
    assert window("/evaluation/versions", **PHONE).evaluate("document.documentElement.scrollWidth") <= 375


def test_an_alert_that_is_open_stands_above_the_evaluation_until_it_closes(
    read: str, console: Console, window: Callable[..., Page], wait_long: Callable[..., None]
) -> None:
    """Raised by one look with a threshold that nothing meets; closed by one without it."""
    wait_long(lambda: console.rows("SELECT 1 FROM hourly_answers WHERE modality = 'chat' LIMIT 1"), "the first sums", 150)

    def look(thresholds: str) -> None:
        words = ["evaluate", "--question", "inventory", "--alert", "--wait", "0"]
        done = subprocess.run([sys.executable, "-m", "deploy.cli", *words], env={**console.environ, "STRATA_EVALUATION_THRESHOLDS": thresholds}, capture_output=True, text=True, timeout=90)  # fmt: skip
        assert done.returncode == (3 if thresholds else 0), done.stderr

    look('{"latency.p99_ms": "<= 0 when task = topic"}')
    wait_long(lambda: console.api("alerts")["open"], "the alert")
    page = window("/evaluation?days=0")
    alert = page.locator(".alerts li").first
    expect(alert).to_contain_text("latency.p99_ms of")
    expect(alert).to_contain_text("must be <= 0 when task = topic")
    alert.locator("a").click()
    expect(page.locator("#q-latency")).to_be_in_viewport()
    look("")
    wait_long(lambda: not console.api("alerts")["open"], "its end")
    expect(window("/evaluation?days=0").locator(".alerts")).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_shows_all_of_it_without_scrolling_sideways(read: str, window: Callable[..., Page], path: str) -> None:
    page = window(path, **PHONE)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    small = page.evaluate(
        "[...document.querySelectorAll('main button, main select, main .button')].filter(e => e.offsetParent && e.getBoundingClientRect().height < 34).map(e => e.outerHTML.slice(0, 80))"
    )
    assert small == []


def test_a_session_fits_a_phone(read: str, window: Callable[..., Page]) -> None:
    page = window(f"/sessions/{read}", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    expect(page.locator(".turn").first).to_be_visible()


def test_keys_lead_everywhere(read: str, window: Callable[..., Page]) -> None:
    page = window("/sessions")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.className") == "name"
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/sessions/."))
    page.wait_for_load_state("load")  # before it no script listens
    for key, path in (("e", "/evaluation"), ("t", "/traces"), ("y", "/try"), ("s", "/sessions"), ("l", "/")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile(f"{path}$"))
        page.wait_for_load_state("load")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_the_theme_follows_the_system_until_somebody_chooses(window: Callable[..., Page]) -> None:
    page = window("/try", color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light


def test_every_text_stands_out_from_its_ground(read: str, window: Callable[..., Page]) -> None:
    """Contrast of 4.5 to 1 (WCAG AA), measured on what is shown, in both themes; words in every shade of attention, whatever the model looked at."""
    for theme in ("light", "dark"):
        page = window(f"/sessions/{read}", color_scheme=theme)
        page.evaluate(EVERY_SHADE)
        assert page.evaluate(CONTRAST) == [], theme


EVERY_SHADE = """() => {
  const text = document.createElement('p');
  text.className = 'attention';
  text.append(...[...Array(8).keys()].map((step) => Object.assign(document.createElement('span'), { className: `w${step}`, textContent: `word ${step} ` })));
  document.querySelector('[aria-label="Attention"]').append(text);
}"""


CONTRAST: Any = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return c.startsWith('color(srgb') ? [m[0] * 255, m[1] * 255, m[2] * 255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (e) => { let left = []; for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) { left.push(c); if (c[3] === 1) break; } }
    return left.reverse().reduce((under, over) => [0, 1, 2].map((n) => over[n] * over[3] + under[n] * (1 - over[3])), [255, 255, 255]); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('svg, dialog, .said, .skip, .visually-hidden') || !e.offsetParent) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 30)}`);
  }
  return [...new Set(found)].slice(0, 12);
}"""
