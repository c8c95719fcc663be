"""A SessionTree drawn for the terminal.

Knows looks; leaves what is known of a session to session_tree.py.
"""

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from deploy.live_state import LOUD, one_line
from deploy.live_view import BARS, SEVERITY, colour
from deploy.session_tree import Group, Judgement, Segment, SessionTree

MOST = 30
"""Of one kind, before the rest is only counted."""


def draw(tree: SessionTree, most: int = 110) -> Tree:
    """The whole session; texts are cut after `most` characters."""
    root = Tree(_head(tree))
    for answer in tree.document:
        root.add(Text.assemble("as a whole: ", _judged(answer), f"  of {answer.span_end - answer.span_start:,} items"))
    for number, topic in enumerate(tree.topics, 1):
        _segment(root, topic, f"topic {number}", most)
    for group in tree.groups[:MOST]:
        root.add(_template(group, most) if tree.modality == "logs" else _series(group, tree))
    if len(tree.groups) > MOST:
        root.add(Text(f"and {len(tree.groups) - MOST:,} more", style="bright_black"))
    if tree.notes:
        branch = root.add(Text(f"{len(tree.notes):,} anomalies", style="bold red"))
        for note in tree.notes[:MOST]:
            score = "" if note.value is None else f"  score {note.value:.2f}"
            branch.add(Text.assemble((f"at {note.position}  ", "bright_black"), _cut(note.text, most), (score, "red")))
        if len(tree.notes) > MOST:
            branch.add(Text(f"and {len(tree.notes) - MOST:,} more", style="bright_black"))
    if tree.failures:
        branch = root.add(Text(f"{len(tree.failures):,} failures", style="bold red"))
        for failure in tree.failures[:MOST]:
            branch.add(Text(f"{failure['failure_type']}: {_cut(failure['exception'], most)}  [{_outcome(failure)}]"))
    root.add(_foot(tree))
    return root


def _outcome(failure: Mapping[str, Any]) -> str:
    """What was done about a failure, in words."""
    if failure["recovery_action"] == "dead_letter":
        return "kept as a dead letter"
    return f"{failure['recovery_action']} {'worked' if failure['recovery_success'] in (True, 1, 'true') else 'did not help'}"


def _head(tree: SessionTree) -> Text:
    unit = {"tokens": "pieces", "chat": "turns", "logs": "lines", "metrics": "points"}.get(tree.modality, "items")
    when = f"{tree.first[:19]} to {tree.last[:19]} UTC" if tree.first else ""
    state = "ended" if tree.ended else "open"
    return Text.assemble((tree.session_id, "bold"), (f"  {tree.modality}  {tree.items:,} {unit}  {state}  {when}", "bright_black"))


def _segment(parent: Tree, segment: Segment, name: str, most: int) -> None:
    line = Text.assemble((name, "bold" if segment.level == "topic" else ""), (f"  {segment.start}-{segment.end}", "bright_black"))
    if segment.label:
        line.append("  ").append_text(_judged(segment.label))
    if segment.confidence is not None and segment.level != "sentence":
        line.append(f"  boundary {segment.confidence:.0%} by {segment.detected_by}", style="bright_black")
    if segment.level in ("sentence", "turn"):
        line = Text.assemble((f"{segment.start:>4}  ", "bright_black"), _cut(segment.text, most))
        if segment.surprise and segment.surprise.value is not None:
            line.append(f"  {segment.surprise.value:.1f} nats", style="bright_black")
    if segment.states:
        line.append("  ▪", style="green")
    branch = parent.add(line)
    for number, child in enumerate(segment.children, 1):
        _segment(branch, child, f"paragraph {number}", most)


def _judged(answer: Judgement) -> Text:
    if answer.task == "anomaly":
        style = "bold red" if answer.label == "anomaly" else "green"
        return Text.assemble((answer.label or "?", style), f" score {answer.value or 0.0:.2f}")
    text = Text(answer.label or "?", style="bold " + colour(answer.label or ""))
    if answer.confidence is not None:
        text.append(f" {answer.confidence:.0%}", style="")
    return text if answer.final else text.append(" so far", style="bright_black")


def _template(group: Group, most: int) -> Text:
    text = Text.assemble((f"{group.items:>5} × ", "bold"), (f"{group.name}  ", "bright_black"))
    for name, count in group.severities.most_common():
        shown = name if len(group.severities) == 1 else f"{name} {count}"
        text.append(shown + "  ", style="bold red" if name in LOUD else SEVERITY.get(name, ""))
    return text.append(_cut(group.text, most))


def _series(group: Group, tree: SessionTree) -> Text:
    finite = [v for v in group.values if v == v and abs(v) != float("inf")] or [0.0]
    low, high = min(finite), max(finite)
    step = max(1, -(-len(finite) // 60))
    peaks = [max(finite[i : i + step]) for i in range(0, len(finite), step)]
    bars = "".join(BARS[min(int((p - low) / (high - low or 1.0) * len(BARS)), len(BARS) - 1)] for p in peaks)
    span = f"  {low:.4g} to {high:.4g} {group.text}"
    return Text.assemble((group.name or "series", "bold"), f"  {group.items:,} points  ", (bars, "green"), (span, "bright_black"))


def _foot(tree: SessionTree) -> Text:
    parts = []
    if tree.latency_ms:
        parts.append(f"latency p50 {tree.latency_ms['p50']:.0f} ms, p99 {tree.latency_ms['p99']:.0f} ms")
    if tree.predictions:
        parts.append("predictions " + ", ".join(f"{task} {count:,}" for task, count in sorted(tree.predictions.items())))
    if tree.states:
        parts.append("states sampled (▪) " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(tree.states.items())))
    return Text("; ".join(parts) or "no predictions yet", style="bright_black")


def _cut(text: str, most: int) -> str:
    text = one_line(text)
    return text if len(text) <= most else text[: most - 1] + "…"
