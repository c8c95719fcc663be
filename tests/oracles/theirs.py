"""What Evidently and NannyML say of the same data: `python tests/oracles/theirs.py FILE`, in their own environment. Imports nothing of ours.

PSI and Jensen-Shannon by Evidently, Kolmogorov-Smirnov and Wasserstein by NannyML (Wasserstein by Evidently too, which divides by the reference's
deviation), expected accuracy by NannyML's CBPE with the confidence as it is. Exit status 1 where one differs from ours by more than rounding.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import jensenshannon_stat_test, psi_stat_test, wasserstein_stat_test
from evidently.legacy.core import ColumnType
from nannyml import CBPE
from nannyml.calibration import NoopCalibrator
from nannyml.chunk import CountBasedChunker
from nannyml.drift.univariate import FeatureType, MethodFactory
from nannyml.thresholds import ConstantThreshold

WITHIN = 1e-6


def evidently(test, before, after, kind):
    return float(test.func(pd.Series(before), pd.Series(after), kind, 0.1)[0])


def nannyml(name, before, after):
    """A univariate method of NannyML on the whole window, every value counted."""
    options = {"kolmogorov_smirnov": {"calculation_method": "exact"}, "wasserstein": {"calculation_method": "exact"}}
    method = MethodFactory.create(
        key=name,
        feature_type=FeatureType.CONTINUOUS,
        chunker=CountBasedChunker(1),
        threshold=ConstantThreshold(0, 1),
        computation_params=options[name],
    )
    method.fit(pd.Series(before, name="value"), None)
    return float(method.calculate(pd.Series(after, name="value")))


def cbpe(answers):
    """Accuracy to be expected, by NannyML: of the label said the confidence, of the others what is left."""
    names = sorted({a["said"] for a in answers} | {a["truth"] for a in answers if a["truth"]})
    rest = max(len(names) - 1, 1)
    rows = [
        {
            "said": a["said"],
            "truth": a["truth"] or a["said"],
            **{f"p_{n}": a["confidence"] if n == a["said"] else (1 - a["confidence"]) / rest for n in names},
        }
        for a in answers * 4  # it splits the reference by class and wants some of each; the mean stays
    ]
    frame = pd.DataFrame(rows)
    estimator = CBPE(
        problem_type="classification_multiclass",
        y_pred_proba={n: f"p_{n}" for n in names},
        y_pred="said",
        y_true="truth",
        metrics=["accuracy"],
        chunk_number=1,
        calibrator=NoopCalibrator(),
    ).fit(frame)
    found = estimator.estimate(frame.drop(columns="truth")).filter(period="analysis").to_df()
    return float(found[("accuracy", "value")].iloc[0])


def main(file):
    told = json.loads(Path(file).read_text())
    compared, off = {}, []

    def hold(what, about, ours, theirs):
        compared.setdefault(what, []).append(abs(ours - theirs))
        if not math.isclose(ours, theirs, rel_tol=WITHIN, abs_tol=WITHIN):
            off.append(f"{what} of {about}: ours {ours:.6g}, theirs {theirs:.6g}")

    for one in told["features"]:
        about, ours, before, after = one["about"], one["ours"], one["before"], one["after"]
        cells = set(one["groups_before"]) == set(one["groups_after"])  # an empty cell is smoothed in another way by each
        if cells:
            hold(
                "PSI, Evidently",
                about,
                ours["psi"],
                evidently(psi_stat_test, one["groups_before"], one["groups_after"], ColumnType.Categorical),
            )
        distance = evidently(jensenshannon_stat_test, [str(v) for v in before], [str(v) for v in after], ColumnType.Categorical)
        hold("Jensen-Shannon, Evidently", about, ours["js"], distance**2 / math.log(2))
        if one["is_number"]:
            hold("Kolmogorov-Smirnov, NannyML", about, ours["ks"], nannyml("kolmogorov_smirnov", before, after))
            hold("Wasserstein, NannyML", about, ours["wasserstein"], nannyml("wasserstein", before, after))
            normed = evidently(wasserstein_stat_test, before, after, ColumnType.Numerical)
            hold("Wasserstein, Evidently", about, ours["wasserstein"], normed * max(float(np.std(before)), 0.001))
    for one in told["expected"]:
        if len({a["said"] for a in one["answers"]}) > 2:
            hold("expected accuracy (CBPE), NannyML", one["about"], one["ours"], cbpe(one["answers"]))
    for what, differences in compared.items():
        print(f"{what}: {len(differences)} compared, largest difference {max(differences):.2g}")
    print("\n".join(off) or f"all {sum(map(len, compared.values()))} are the same within {WITHIN}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
