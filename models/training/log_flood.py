"""`python -m models.training.log_flood --data DIR`: whether an anomalous flood becomes normal within an hour.

Normal sessions of HDFS are learned first (logs/hdfs, train). Then comes an hour of event time in which every second session is anomalous (dev): all
kinds of them, or one of them again and again, or unseen lines within normal sessions. The model learns all the while, as in the worker. Prints how many of the
flood's sessions are flagged in each quarter, and of the normal ones among them. Exit status 1 where the last quarter's share is more
than two points below the first's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.learner import LearningSettings
from models.training.log_streams import LogSession, Play, hdfs

ALLOWED = 0.02
HOUR_US = 3_600_000_000
UNSEEN = ("disk is on fire on rack seven", "replica lost beyond repair", "refused by warden")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.training.log_flood", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, required=True, help="folder with logs/")
    p.add_argument("--train", type=int, default=4855, help="normal sessions to learn from [4855]")
    p.add_argument("--sessions", type=int, default=2000, help="of the hour, half of them anomalous [2000]")
    a = p.parse_args(arguments)
    settings = LearningSettings(template_share=1.0)
    tenant = Play(settings, line_us=1000)
    tenant.play(hdfs(a.data / "logs" / "hdfs", "hdfs_train_normal.jsonl.gz", a.train))
    dev = hdfs(a.data / "logs" / "hdfs", "hdfs_dev.jsonl.gz", 1_000_000)
    half = a.sessions // 2
    normal, odd = [s for s in dev if not s.label][:half], [s for s in dev if s.label]
    floods = {
        "all kinds": odd[:half],
        "one of them": [odd[0]] * half,
        "unseen lines": [LogSession([*s.lines[:8], *UNSEEN * 3, *s.lines[8:]], 1) for s in normal],
    }
    worst = 0.0
    print("flood         of the flood flagged, by quarter of the hour      normal flagged, by quarter")
    for name, flood in floods.items():
        sessions = [session for pair in zip(flood, normal, strict=True) for session in pair]
        hour = tenant.copy()
        hour.line_us = HOUR_US // sum(len(session.lines) for session in sessions)
        found = hour.play(sessions)
        flagged = [found[n] >= settings.hold_above for n in range(len(sessions))]
        ours, others = quarters(flagged[::2]), quarters(flagged[1::2])
        print(f"{name:12}  {shown(ours)}    {shown(others)}   {dict(hour.actions)}, held {len(hour.learner.quarantine)}", flush=True)
        worst = max(worst, ours[0] - ours[-1])
    return int(worst > ALLOWED)


def quarters(flagged: Sequence[bool]) -> list[float]:
    size = max(len(flagged) // 4, 1)
    return [sum(part) / len(part) for part in (flagged[at : at + size] for at in range(0, 4 * size, size)) if part]


def shown(shares: Sequence[float]) -> str:
    return " ".join(f"{share:7.4f}" for share in shares)


if __name__ == "__main__":
    sys.exit(main())
