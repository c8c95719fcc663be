"""`python -m models.training.log_systems --data DIR [--before]`: HDFS sessions judged by a tenant that knows nothing else, or that read ten other systems before.

The same learner as in the worker, which goes on learning from the development sessions, half of them anomalous; no label is used. F1 is at the full
log's ratio. Next: models/latent_systems.py
"""

import argparse
import sys
from pathlib import Path

from models.learner import LearningSettings
from models.training.latent_figures import hdfs_f1
from models.training.log_streams import SYSTEMS, Play, hdfs, loghub


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.training.log_systems", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, required=True, help="folder with logs/")
    p.add_argument("--before", action="store_true", help="2,000 lines of each of ten systems first, twice")
    p.add_argument("--judge", type=int, default=1_000_000, help="sessions of hdfs_dev [all]")
    a = p.parse_args(arguments)
    settings = LearningSettings()
    tenant = Play(settings, line_us=2000)
    for _ in range(2 if a.before else 0):
        tenant.play([loghub(a.data / "logs" / "loghub_2k", system) for system in SYSTEMS])
    warm = tenant.play(hdfs(a.data / "logs" / "hdfs", "hdfs_train_normal.jsonl.gz", 1_000_000))
    print(
        f"normal sessions while learning: {sum(value >= settings.hold_above for value in warm.values())} of {len(warm)} flagged", flush=True
    )
    dev = hdfs(a.data / "logs" / "hdfs", "hdfs_dev.jsonl.gz", a.judge)
    found = tenant.play(dev)
    for deviations in (2.5, 2.75, 3.0, 3.25, 3.5):
        flagged = [found[n] >= deviations / 6.0 for n in range(len(dev))]
        print(f"at {deviations:4} standard deviations: {hdfs_f1([session.label for session in dev], flagged)}")
    print(
        {n: f"{model.lines:.0f} lines, {model.sessions.counted} sessions" for n, model in tenant.knowledge.models.items()},
        dict(tenant.actions),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
