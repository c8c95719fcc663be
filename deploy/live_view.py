"""The live view of `strata demo`: one calm screen, or plain lines where there is no terminal.

Knows how a LiveState looks at a width and a height; leaves what it holds to live_state.py. `frame` is pure: the same state gives the
same lines, none wider than asked for.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rich.text import Text

from deploy.live_state import LOUD, Happening, LiveState, SessionView, one_line, percent

GUTTER, NAME = 9, 20
PALETTE = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta")
MARKS = {"sentence": ("│", "bright_black"), "paragraph": ("¶", "cyan"), "topic": ("◆", "bold yellow")}
SEVERITY = {"warning": "yellow", "notice": "default", "informational": "default", "debug": "bright_black"}
NEWS = {
    "topic": ("◆", "bold yellow", "new topic"),
    "label": ("●", "cyan", "topic"),
    "severity": ("!", "red", ""),
    "template": ("+", "green", "template"),
    "anomaly": ("▲", "bold red", "anomaly"),
    "ended": ("■", "bright_black", "ended"),
    "failure": ("✗", "bold red", "failure"),
}
BARS = "▁▂▃▄▅▆▇█"
LINGER_S = 3.0
SECTIONS = (("tokens", "TEXT", 2), ("chat", "CHAT", 2), ("logs", "LOGS", 2), ("metrics", "METRICS", 1))
"""Modality, name, lines of one session."""


@dataclass(frozen=True)
class Caption:
    """What the frame says around the sessions."""

    title: str
    elapsed_s: float
    note: str = ""
    """Right of the title: which wave, or what is waited for."""
    earlier: str = ""
    """What was stored by earlier runs; empty on a fresh folder."""
    stored: int | None = None
    """Rows of input_stream in ClickHouse, as last asked."""
    hint: str = ""


def frame(state: LiveState, caption: Caption, now_s: float, width: int, height: int) -> list[Text]:
    """Exactly `height` lines."""
    head = [_title(caption, width), _counts(state, caption, now_s, width)]
    foot = [_latency(state, width), _fit(Text(f" {caption.hint}", style="bright_black"), width)]
    room = height - len(head) - len(foot)
    shown = {modality: on_screen(state, modality, now_s) for modality, *_ in SECTIONS}
    slots, news_lines = _share(room, {m: len(s) for m, s in shown.items()})
    body: list[Text] = []
    for modality, name, _ in SECTIONS:
        body += [Text(), *_section(name, shown[modality], slots[modality], width)]
    body += [Text(), *_news(state, news_lines, caption, now_s, width)]
    body += [Text()] * (room - len(body))
    return [line if line.cell_len <= width else _fit(line, width) for line in (head + body[:room] + foot)[:height]]


def on_screen(state: LiveState, modality: str, now_s: float) -> list[SessionView]:
    """Sessions in the order they began, so that none jumps; ended ones linger, then make room."""
    mine = [s for s in state.sessions.values() if s.modality == modality and s.items]
    live = [s for s in mine if s.ended_s is None or now_s - s.ended_s < LINGER_S]
    return live or sorted(mine, key=lambda s: s.ended_s or 0.0)[-1:]


def _share(room: int, wanted: dict[str, int]) -> tuple[dict[str, int], int]:
    """How many sessions of each section fit, and how many lines of news: each first one, then the rest in turn."""
    slots = {modality: 1 for modality, *_ in SECTIONS}
    used = sum(lines + 1 for _, _, lines in SECTIONS) + 1
    news = 3 if room - used >= 3 else max(room - used, 0)
    left = room - used - news
    while True:
        before = left
        for modality, _, lines in SECTIONS:
            if slots[modality] < wanted[modality] and lines <= left:
                slots[modality], left = slots[modality] + 1, left - lines
        if left == before:
            return slots, news + max(left, 0)


def _title(caption: Caption, width: int) -> Text:
    left = Text.assemble((" strata ", "bold white on blue"), " ", (caption.title, "bold"))
    minutes, seconds = divmod(int(caption.elapsed_s), 60)
    return _sides(left, Text.assemble((caption.note, "bright_black"), "   ", f"{minutes:02d}:{seconds:02d}"), width)


def _counts(state: LiveState, caption: Caption, now_s: float, width: int) -> Text:
    counts = state.boundaries
    left = Text.assemble(
        (f" {state.rate(now_s):,.0f}/s", "bold"),
        f"   {state.items:,} read",
        f"   {counts['sentence']:,} sentences  {counts['paragraph']:,} paragraphs  {counts['topic']:,} topics",
    )
    if state.failures:
        left.append(f"   {state.failures:,} failures", style="red")
    stored = "" if caption.stored is None else f"{caption.stored:,} stored"
    right = Text(stored, style="bright_black")
    longer = Text(f"{caption.earlier} · {stored}", style="bright_black")
    if caption.earlier and left.cell_len + longer.cell_len + 4 <= width:
        right = longer
    return _sides(left, right, width)


def _section(name: str, sessions: Sequence[SessionView], slots: int, width: int) -> list[Text]:
    lines: list[Text] = []
    for session in sessions[:slots]:
        lines += {"tokens": _text_lines, "chat": _chat_lines, "logs": _log_lines, "metrics": _metric_lines}[session.modality](
            session, width
        )
    if not lines:
        lines = [Text(" " * GUTTER + "waiting for the first session", style="bright_black")]
    lines[0] = Text.assemble((f" {name}".ljust(GUTTER), "bold bright_black"), lines[0][GUTTER:])
    more = len(sessions) - slots
    if more > 0 and len(lines) > 1:
        lines[1] = Text.assemble((f" +{more}".ljust(GUTTER), "bright_black"), lines[1][GUTTER:])
    return lines


def _name(session: SessionView) -> Text:
    style = "bright_black" if session.ended_s is not None else "bold"
    return Text.assemble(" " * GUTTER, (session.session_id[: NAME - 1].ljust(NAME), style))


def _trail(session: SessionView, width: int) -> Text:
    """The topics so far; the last one with its confidence, earlier ones as far as they fit."""
    if session.document and session.ended_s is not None:
        return Text.assemble(("as a whole ", "bright_black"), (percent(session.document), colour(session.document[0])))
    labels = [a for a, b in itertools.zip_longest(session.labels, session.labels[1:]) if b is None or a[0] != b[0]]
    if not labels:
        return Text("…", style="bright_black")
    trail = Text(percent(labels[-1]), style="bold " + colour(labels[-1][0]))
    for label, _ in reversed(labels[:-1]):
        if trail.cell_len + len(label) + 3 > width:
            return Text.assemble(("… ", "bright_black"), trail) if trail.cell_len + 2 <= width else trail
        trail = Text.assemble((label, colour(label)), (" › ", "bright_black"), trail)
    return trail


def _text_lines(session: SessionView, width: int) -> list[Text]:
    counts = session.boundaries
    right = Text(f"{session.items} pieces  {counts['sentence']}│ {counts['paragraph']}¶ {counts['topic']}◆", style="bright_black")
    left = _name(session)
    left.append_text(_trail(session, width - left.cell_len - right.cell_len - 2))
    tail = Text(" " * GUTTER).append_text(_tail(session, width - GUTTER - 1))
    return [_sides(left, right, width), tail]


def _tail(session: SessionView, width: int) -> Text:
    """The last text read, its boundaries marked where they are."""
    start = session.chars - len(session.tail)
    kinds: dict[int, str] = {}
    for offset, kind in session.marks:  # at one place the highest level is shown
        if kinds.get(offset) != "topic" and not (kind == "sentence" and offset in kinds):
            kinds[offset] = kind
    cut, text, end = max(start, session.chars - 2 * width), Text(), session.chars
    for offset in sorted(o for o in kinds if o > cut):
        mark, style = MARKS.get(kinds[offset], ("│", "bright_black"))
        text.append(one_line(session.tail[cut - start : offset - start]) + " ").append(mark + " ", style=style)
        cut = offset
    text.append(one_line(session.tail[cut - start : end - start]), style="" if session.ended_s is None else "bright_black")
    while text.cell_len > width:
        text = text[max(1, (text.cell_len - width) // 2) :]
    return text


def _chat_lines(session: SessionView, width: int) -> list[Text]:
    right = Text(f"{session.items} turns  {session.boundaries['topic']}◆", style="bright_black")
    left = _name(session)
    left.append_text(_trail(session, width - left.cell_len - right.cell_len - 2))
    speaker, said = session.turns[-1] if session.turns else ("", "")
    shift = ("◆ ", "bold yellow") if session.marks and session.marks[-1][1] == "topic" and _fresh(session) else ""
    line = Text.assemble(" " * GUTTER, shift, (f"{speaker}: " if speaker else "", "bright_black"), one_line(said))
    return [_sides(left, right, width), _fit(line, width - 1)]


def _fresh(session: SessionView) -> bool:
    """Did the last topic begin with the last utterance?"""
    return bool(session.turns) and session.marks[-1][0] >= session.chars - len(session.turns[-1][1]) - 1


def _log_lines(session: SessionView, width: int) -> list[Text]:
    loud = sum(session.severity_counts[s] for s in LOUD)
    right = Text(f"{session.items} lines  {len(session.templates)} templates", style="bright_black")
    left = _name(session)
    left.append(f"{loud} errors", style="red" if loud else "bright_black")
    left.append(
        f"  {session.severity_counts['warning']} warnings", style="yellow" if session.severity_counts["warning"] else "bright_black"
    )
    position, raw = session.lines[-1] if session.lines else (-1, "")
    severity = session.severities.get(position, "")
    template = session.templates.get(session.template_at.get(position, ""), "") or raw
    style = "bold red" if severity in LOUD else SEVERITY.get(severity, "default")
    line = Text.assemble(" " * GUTTER, (severity[:13].ljust(14), style), one_line(template))
    return [_sides(left, right, width), _fit(line, width - 1)]


def _metric_lines(session: SessionView, width: int) -> list[Text]:
    value = f"{session.values[-1][1]:.4g} {session.unit}" if session.values else ""
    right = Text.assemble(
        (f"{value:>9}", ""), ("  ", ""), (f"{session.anomalies} anomalies", "bold red" if session.anomalies else "bright_black")
    )
    left = _name(session)
    left.append_text(_spark(session, max(width - left.cell_len - right.cell_len - 3, 8)))
    return [_sides(left, right, width)]


def _spark(session: SessionView, width: int) -> Text:
    """The last points, several in a column when there are many; columns with an anomaly in red."""
    if not session.values:
        return Text()
    points, flagged = list(session.values), set(session.flagged)
    step = max(1, -(-len(points) // width))
    first = points[0][0] - points[0][0] % step
    columns: dict[int, list[tuple[int, float]]] = {}
    for position, value in points:
        columns.setdefault((position - first) // step, []).append((position, value))
    finite = [v for _, v in points if v == v and abs(v) != float("inf")] or [0.0]
    low, high = min(finite), max(finite)
    text = Text()
    for column in list(columns.values())[-width:]:
        peak = max((v for _, v in column if v == v), default=low)
        share = (min(max(peak, low), high) - low) / (high - low) if high > low else 0.0
        is_flagged = any(p in flagged for p, _ in column)
        text.append(BARS[min(int(share * len(BARS)), len(BARS) - 1)], style="bold red" if is_flagged else "green")
    return text


def _news(state: LiveState, lines: int, caption: Caption, now_s: float, width: int) -> list[Text]:
    """The latest events, the newest below."""
    latest = list(state.news)[-lines:] if lines > 0 else []
    drawn = []
    for told in latest:
        mark, style, word = NEWS.get(told.kind, ("·", "default", told.kind))
        ago = caption.elapsed_s - (now_s - told.at_s)
        minutes, seconds = divmod(max(int(ago), 0), 60)
        when = f" {minutes:02d}:{seconds:02d}".ljust(GUTTER)
        drawn.append(
            Text.assemble(
                (when, "bright_black"),
                (told.session_id[: NAME - 1].ljust(NAME), ""),
                (f"{mark} {word} ".replace("  ", " "), style),
                told.text,
            )
        )
    return [_fit(line, width - 1) for line in drawn]


def _latency(state: LiveState, width: int) -> Text:
    """p50 and p99 against the budget."""
    found = state.quantiles()
    if found is None:
        return Text(" latency  no prediction yet", style="bright_black")
    middle, late = found
    over = state.over_budget / max(state.predictions, 1)
    style = "green" if late <= state.budget_ms else "red"
    room = max(min(width - 62, 40), 8)
    text = Text.assemble(
        " latency  ", ("p50 ", "bright_black"), f"{middle:.0f} ms  ", ("p99 ", "bright_black"), (f"{late:.0f} ms ", f"bold {style}")
    )
    text.append_text(_gauge(middle, late, state.budget_ms, room, style))
    return text.append(f" budget {state.budget_ms:.0f} ms", style="bright_black").append(f"  {over:.1%} over", style="bright_black")


def _gauge(middle: float, late: float, budget: float, room: int, style: str) -> Text:
    """A bar as long as the budget: full up to p50, thin up to p99."""
    a, b = (min(round(v / budget * room), room) for v in (middle, late))
    return Text.assemble(("━" * a, style), ("─" * (b - a), style), ("·" * (room - b), "bright_black"))


def plain(told: Happening, elapsed_s: float) -> str:
    """One line of the output without a terminal."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    word = NEWS[told.kind][2] if told.kind in NEWS and told.kind != "severity" else told.kind
    return f"{minutes:02d}:{seconds:02d} {told.modality:<8}{told.session_id:<{NAME - 1}} {word:<9} {told.text[:300]}".rstrip()


def plain_progress(state: LiveState, now_s: float, elapsed_s: float, stored: int | None) -> str:
    """Rates and latency, every few seconds."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    found = state.quantiles()
    latency = f"latency p50 {found[0]:.0f} ms p99 {found[1]:.0f} ms (budget {state.budget_ms:.0f} ms)" if found else "no prediction yet"
    kept = "" if stored is None else f", {stored:,} stored"
    return f"{minutes:02d}:{seconds:02d} -- {state.rate(now_s):,.0f} items/s, {state.items:,} read{kept}; {latency}"


def colour(label: str) -> str:
    """The same colour for the same label, always."""
    return PALETTE[blake2b(label.encode(), digest_size=1).digest()[0] % len(PALETTE)]


def _sides(left: Text, right: Text, width: int) -> Text:
    """`left`, and `right` at the right edge; the left one gives way."""
    room = width - right.cell_len - 2
    left = _fit(left, room)
    return Text.assemble(left, " " * (width - 1 - left.cell_len - right.cell_len), right)


def _fit(line: Text, width: int) -> Text:
    """Not wider than `width`, with an ellipsis where it was cut."""
    fitted = line.copy()
    fitted.truncate(max(width, 1), overflow="ellipsis")
    return fitted
