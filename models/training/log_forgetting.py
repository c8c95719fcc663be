"""`python -m models.training.log_forgetting --data DIR`: what a log model still knows of an old system after it learned new ones.

Old task: anomalous block sessions of HDFS (logs/hdfs, train and dev). New: lines of other systems (logs/loghub_2k). The same learner as in the
worker, with and without replay. Prints area under ROC and F1 before and after, in points of 100, and what was lost.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.learner import LearningSettings
from models.training.log_streams import Play, area, f1, hdfs, loghub, longer

ALLOWED = 2.0
"""Points that may be lost."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when no figure with replay loses more than ALLOWED points, else 1."""
    p = argparse.ArgumentParser(prog="python -m models.training.log_forgetting", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, required=True, help="folder with logs/")
    p.add_argument("--train", type=int, default=4855, help="normal sessions to learn from [4855]")
    p.add_argument("--judge", type=int, default=2000, help="sessions of hdfs_dev to judge, before and after [2000]")
    p.add_argument("--lines", type=int, default=5000, help="lines of a new system [5000]")
    p.add_argument("--systems", default="BGL,Spark,Linux", help="new systems, each learned after the old one alone [BGL,Spark,Linux]")
    a = p.parse_args(arguments)
    old = hdfs(a.data / "logs" / "hdfs", "hdfs_train_normal.jsonl.gz", a.train)
    dev = hdfs(a.data / "logs" / "hdfs", "hdfs_dev.jsonl.gz", a.judge)
    labels = [session.label for session in dev]
    worst = 0.0
    print("replay  new system  measure  before  after  lost   (points of 100)")
    for replays in (True, False):
        settings = LearningSettings(template_share=1.0, warm_up_lines=10**9)
        tenant = Play(settings if replays else replace(settings, replay_share=0.0))
        tenant.play(old)
        before = figures(tenant.judge(dev), labels, settings.hold_above)
        for system in a.systems.split(","):
            later = tenant.copy()
            later.play([longer(loghub(a.data / "logs" / "loghub_2k", system), a.lines, 0)])
            after = figures(later.judge(dev), labels, settings.hold_above)
            for name, was in before.items():
                now = after[name]
                print(f"{'yes' if replays else 'no':6}  {system:10}  {name:7}  {was:6.2f}  {now:5.2f}  {was - now:5.2f}", flush=True)
                worst = max(worst, was - now) if replays else worst
    return int(worst > ALLOWED)


def figures(found: Mapping[int, float], labels: Sequence[int], threshold: float) -> dict[str, float]:
    """Area under ROC and F1, points of 100."""
    values = [found[n] for n in range(len(labels))]
    return {"auc": 100 * area(values, labels), "f1": 100 * f1(values, labels, threshold)}


if __name__ == "__main__":
    sys.exit(main())
