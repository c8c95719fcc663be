"""The page of figures, made anew from the files of all parts: goals first, then each part's tables and pictures.

Knows Markdown; leaves measuring to the parts.
Next: deploy/benchmarks/plots.py
"""

from collections.abc import Sequence
from pathlib import Path

from deploy.benchmarks import capacity, results
from deploy.benchmarks.results import Goal, Result, Table, figure

INTRODUCTION = """# Benchmarks

Made by `strata bench` from the files in `{folder}/`; `strata bench --only PART` measures a part again and leaves the others. Programs of a part take turns
within its rounds, and what is shown are medians, of ratios the medians of each round's. Ratios are what counts: absolute figures are those of the
machine named with each part, which broker, writer and the load itself share.
"""
BUSY = """
**The machine was busy with other work: what was measured got a part of its cores only. Rates and latencies are far from what it can do; ratios of the same
round, CPU times and memory say more.**"""
BY_HAND = "by-hand.md"
"""Sections that people wrote, kept at the end of the page."""
PENDING = "A figure that was not reached is shown like the others."


def write(folder: Path, order: Sequence[str]) -> Path:
    """Write the page beside `folder` from its files, parts in `order`, and what was written by hand there."""
    found = [results.load(folder / f"{name}.json") for name in order if (folder / f"{name}.json").exists()]
    page = folder.with_suffix(".md")
    made = text(found, folder.name, capacity.tables(folder))
    if (folder / BY_HAND).exists():
        made += "\n" + (folder / BY_HAND).read_text(encoding="utf-8")
    page.write_text(made, encoding="utf-8")
    return page


def text(found: Sequence[Result], folder: str, capacity_tables: Sequence[Table] = ()) -> str:
    """The whole page."""
    goals = [(goal, result) for result in found for goal in result.goals]
    reached = sum(goal.reached for goal, _ in goals)
    lines = [INTRODUCTION.format(folder=folder), f"## What must be shown: {reached} of {len(goals)} reached\n", PENDING + "\n"]
    lines += _table(Table("", ["what", "against", "seen", "to reach", "reached", "part"], [[*goal_row(g), r.part] for g, r in goals]))
    for result in found:
        lines += ["", f"## {result.part}: {result.title}\n", _where(result) + "\n"]
        for note in result.notes:
            lines.append(f"{note}\n")
        for table in result.tables:
            lines += [f"**{table.title}**\n", *_table(table), ""]
        for plot in result.plots:
            lines.append(f"![{plot.title}]({folder}/{plot.name}.png)\n")
    if capacity_tables:
        lines += ["", "## Capacity\n", "Computed from the parts above by `strata bench --plan` (docs/scaling.md).\n"]
    for table in capacity_tables:
        lines += [f"**{table.title}**\n", *_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def goal_row(goal: Goal) -> list[str]:
    """What, against, seen, to reach, reached."""
    bound = "at most " if goal.at_most else ""
    return [
        goal.what,
        goal.against,
        _with_unit(goal.seen, goal.unit),
        bound + _with_unit(goal.wanted, goal.unit),
        "yes" if goal.reached else "**no**",
    ]


def _with_unit(value: float, unit: str) -> str:
    return f"{figure(value)} {unit}".strip()


def _where(result: Result) -> str:
    m = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in m.get("versions", {}).items())
    quick = ", quick" if result.quick else ""
    before = m.get("load_before", m["load"])
    busy = BUSY if before > m["cpus"] else ""
    return (
        f"{m['time']}, {m['processor']}, {m['cpus']} CPUs, {m['memory_gb']} GB, {m['system']}, Python {m['python']}, {versions}; "
        f"{result.rounds} rounds{quick}, {result.took_s:.0f} s, load {before} before and {m['load']} at the end.{busy}"
    )


def _table(table: Table) -> list[str]:
    return [
        "| " + " | ".join(table.head) + " |",
        "|" + " --- |" * len(table.head),
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]
