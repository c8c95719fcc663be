"""`python -m models.training.log_drift --data DIR`: how soon each detector sees a change of system, and how often it cries wolf.

A stream is lines of one system of logs/loghub_2k that the model has learned, then lines of another: the change is known. The model learns all the
while, as in the worker. Shown beside a detector that never fires and one that always does. Per stream and seed: lines from the change to the
first alarm, and alarms before it, per day at one line a second.
"""

import argparse
import statistics
import sys
from pathlib import Path

from models.drift import AlwaysFires, NeverFires
from models.learner import LearningSettings
from models.training.log_streams import SYSTEMS, Play, loghub, longer

DAY = 86_400
"""Lines of a day at one a second."""
DETECTORS = ("adwin", "page_hinkley", "never", "always")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.training.log_drift", description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, required=True, help="folder with logs/")
    p.add_argument("--warm", type=int, default=4000, help="lines learned before alarms count [4000]")
    p.add_argument("--calm", type=int, default=6000, help="lines of the same system after that [6000]")
    p.add_argument("--after", type=int, default=2000, help="lines of the other system [2000]")
    p.add_argument("--seeds", type=int, default=2, help="streams of each pair of systems [2]")
    p.add_argument("--systems", default=",".join(SYSTEMS), help="each is followed by the next [all]")
    p.add_argument("--threshold", type=float, default=LearningSettings.drift_threshold, help="Page-Hinkley's")
    p.add_argument("--delta", type=float, default=LearningSettings.drift_delta, help="ADWIN's")
    a = p.parse_args(arguments)
    names = a.systems.split(",")
    sessions = {name: loghub(a.data / "logs" / "loghub_2k", name) for name in names}
    delays: dict[str, list[int]] = {d: [] for d in DETECTORS}
    missed, wolves, streams = dict.fromkeys(DETECTORS, 0), dict.fromkeys(DETECTORS, 0), 0
    for n, name in enumerate(names):
        other = names[(n + 1) % len(names)]
        for seed in range(a.seeds):
            streams += 1
            alarms = fired(a, sessions[name], sessions[other], seed)
            for detector in DETECTORS:
                wolves[detector] += sum(a.warm <= at < a.warm + a.calm for at in alarms[detector])
                after = [at - a.warm - a.calm for at in alarms[detector] if at >= a.warm + a.calm]
                if after:
                    delays[detector].append(after[0])
                else:
                    missed[detector] += 1
    print(f"{streams} changes of system; {a.calm} quiet lines before each")
    print("detector      missed  delay p50  delay max (lines)  false alarms a day (1 line/s)")
    for detector in DETECTORS:
        found = delays[detector]
        middle, most = (f"{statistics.median(found):.0f}", f"{max(found)}") if found else ("-", "-")
        print(f"{detector:12}  {missed[detector]:6}  {middle:>9}  {most:>9}          {wolves[detector] / (streams * a.calm) * DAY:10.1f}")
    return 0


def fired(a: argparse.Namespace, first, second, seed: int) -> dict[str, list[int]]:  # type: ignore[no-untyped-def]
    """Lines at which each detector fires, over the whole stream."""
    settings = LearningSettings(warm_up_lines=10**9, drift_threshold=a.threshold, drift_delta=a.delta)
    tenant = Play(settings)
    alarms: dict[str, list[int]] = {d: [] for d in DETECTORS}
    trivial: dict[str, NeverFires | AlwaysFires] = {"never": NeverFires(), "always": AlwaysFires()}
    at = 0
    for session in (longer(first, a.warm + a.calm, seed), longer(second, a.after, seed)):
        for _, lesson, drifts in tenant.lines([session]):
            for drift in drifts:
                alarms[drift.detector].append(at)
            for name, detector in trivial.items():
                if detector.update(lesson.surprise):
                    alarms[name].append(at)
            at += 1
    return alarms


if __name__ == "__main__":
    sys.exit(main())
