"""The model's step alone: beside the naive way, beside the peak of the cores, against session length and number of sessions; what sessions hold.

Knows which measurements are asked for and what they must show; leaves measuring to `python -m models.measuring`.
Next: models/measuring/trunk.py
"""

from typing import Any

from deploy.benchmarks.ground import Ground
from deploy.benchmarks.results import Goal, Plot, Result, Series, Table, figure

SESSIONS = 128
LENGTHS, QUICK_LENGTHS = (1_000, 10_000, 100_000), (1_000, 4_000)
COUNTED = 384
"""Pieces of each session that are timed: two windows, so that cuts are among them."""
COUNTS, QUICK_COUNTS = (1, 4, 16, 64, 256), (1, 16, 128)
BUDGET_MB = 512.0


def trunk(ground: Ground) -> Result:
    """Tokens a second of the cached trunk, and how much of what the cores can multiply that is."""
    found = ground.model("trunk", "--sessions", SESSIONS if not ground.quick else 64, "--rounds", ground.rounds)
    rows, names, peaks = found["rows"], found["names"], found["peak_gflops"]
    goals = [
        Goal(
            "model step, single tokens of 128 sessions, window 512",
            "the same trunk, whole window for each token",
            found["times_naive"],
            150.0,
        ),
        Goal("model step, chunks of 16", "measured peak of the cores, float32", 100 * found["of_peak_chunk"], 35.0, "%"),
        Goal("model step, single tokens", "measured peak of the cores, float32", 100 * found["of_peak_single"], 20.0, "%"),
        Goal("cost of a token after 1,000,000 tokens", "after 1,000", found["late_to_early"], 1.05, at_most=True),
    ]
    table = [
        [
            names[key],
            f"{row['tokens_per_s']:,.3g}" if row["tokens_per_s"] < 100 else f"{row['tokens_per_s']:,.0f}",
            f"{row['core_us']:,.0f}",
            f"{row['mflop_per_token']:,.2f}" if row["mflop_per_token"] else "",
            f"{row['gflops']:.1f}" if row["gflops"] else "",
            f"{100 * row['gflops'] / peaks['float32']:.0f} %" if row["gflops"] else "",
        ]
        for key, row in rows.items()
    ]
    head = ["trunk", "tokens/s", "core us a token", "MFLOP a token", "GFLOP/s", "of the peak"]
    note = (
        f"{found['threads']} threads, products of {found['products']}, {found['cpu_capability']}; {found['shape']}; windows full, levels, answers and tokenizer not "
        f"counted. Peak: largest square product in the same rounds, {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16; products in INT8 do more than a peak in float32. "
        "Operations are those the arithmetic needs: weights of the layers and the keys a token may see, no padding. The millionth token is reached by its "
        "window alone, of which the cache is a function."
    )
    return Result(
        "trunk", "the model's step beside the naive way and the cores' peak", goals, [Table("Trunk", head, table)], notes=[note], data=found
    )


def alone(ground: Ground) -> Result:
    """What a piece of text costs in the whole model, by number of sessions that step together."""
    found = ground.model("sessions", "--counts", *(QUICK_COUNTS if ground.quick else COUNTS), "--rounds", ground.rounds)
    cheapest = min(row["core_us"] for row in found)
    table = Table(
        "Number of sessions that take turns, one piece each a step",
        ["sessions", "core us a piece", "us a piece", "times the cheapest"],
        [[f"{r['sessions']:,}", figure(r["core_us"]), figure(r["wall_us"]), f"{r['core_us'] / cheapest:.2f}"] for r in found],
    )
    plot = Plot(
        "cost-by-sessions",
        "Cost of a piece against sessions in a step",
        "sessions",
        "microseconds of a core a piece",
        [Series("one piece each a step", [r["sessions"] for r in found], [r["core_us"] for r in found])],
        log_x=True,
    )
    return Result("alone", "what a piece of text costs in the whole model", [], [table], [plot], data={"sessions": found})


def lengths(ground: Ground) -> Result:
    """What a piece of text costs in the whole model, by what its session has read."""
    wanted = QUICK_LENGTHS if ground.quick else LENGTHS
    found = ground.model("lengths", "--lengths", *wanted, "--sessions", 2, "--pieces", COUNTED, "--rounds", ground.rounds)
    first, last = found[0], found[-1]
    what = f"whole model, cost of a piece after {last['tokens']:,} tokens"
    goal = Goal(what, f"after {first['tokens']:,}", last["times"], 1.05, at_most=True)
    table = Table(
        "Tokens a session has read, 2 sessions in chunks of 16, cuts and prefills included",
        ["tokens read", "core us a piece", "times the first"],
        [[f"{r['tokens']:,}", figure(r["core_us"]), f"{r['times']:.3f}"] for r in found],
    )
    plot = Plot(
        "cost-by-length",
        "Cost of a piece against length of its session",
        "tokens the session has read",
        "microseconds of a core a piece",
        [Series("chunks of 16", [r["tokens"] for r in found], [r["core_us"] for r in found])],
        log_x=True,
    )
    return Result("lengths", "cost of a piece against length of its session", [goal], [table], [plot], data={"lengths": found})


def memory(ground: Ground) -> Result:
    """1,000 hot sessions, state rows, rebuilding."""
    n = 100 if ground.quick else 1000
    found: dict[str, Any] = ground.model("memory", "--sessions", n, "--max-mb", 4 * BUDGET_MB)
    per_1000 = found["grown_mb"] / found["sessions"] * 1000
    goals = [
        Goal("memory of 1,000 hot sessions, resident, beside the loaded model", "", per_1000, BUDGET_MB * 1.048576, "MB", at_most=True),
        Goal("caches of 1,000 hot sessions", "", found["caches_mb"] / found["hot"] * 1000, BUDGET_MB * 1.048576, "MB", at_most=True),
        Goal("state row of a session, largest", "", found["row_bytes_max"] / 1024, 16.0, "KB", at_most=True),
    ]
    rows = [
        ["sessions, hot", f"{found['hot']:,}"],
        ["process before, MB resident", f"{found['loaded_mb']:.0f}"],
        ["grown by, MB", f"{found['grown_mb']:.0f}"],
        ["of that caches, MB", f"{found['caches_mb']:.0f}"],
        ["bytes of a cache, mean", f"{found['cache_bytes']:,.0f}"],
        ["bytes of a state row, median (largest)", f"{found['row_bytes_median']:,.0f} ({found['row_bytes_max']:,})"],
        ["tokens of a window, median", f"{found['window_tokens_median']:.0f}"],
        ["rebuild of an evicted session, ms, median (longest)", f"{found['rebuild_ms_median']:.1f} ({found['rebuild_ms_max']:.1f})"],
    ]
    note = f"{found['sessions']:,} sessions that have read 240 pieces each, 50 of them from the text and the others as after a take-over: state unpacked, cache prefilled; figures of 1,000 are in proportion where fewer were measured."
    return Result("memory", "what sessions hold", goals, [Table("Sessions", ["", "seen"], rows)], notes=[note], data=found)
