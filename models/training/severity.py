"""`python -m models.training.severity --sources DIR --apart DIR`: log statements of programs' source code -> models/weights/severity.npz.

A statement's author gave it a level, which is the truth for its words. Knows which programs may be read, what each statement
counts and the fit; leaves reading source code to severity_statements.py, and how sure an answer may be, which other programs decide, to
severity_calibration.py. Programs whose logs the figures are measured on are refused, so that every figure is one of a system left out.
weights/SEVERITY_SOURCES.md names the programs of the shipped weights. Next: models/training/severity_calibration.py
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.masking import HOLE, mask
from models.severity_features import ROWS, features, signs
from models.severity_model import FIRST, LEVELS_LEARNED, WEIGHTS, SeverityModel
from models.training.severity_calibration import PRIOR, calibration
from models.training.severity_statements import Statement, statements
from models.training.severity_texts import PROGRAM, written

MEASURED = (
    "hadoop",
    "hdfs",
    "yarn",
    "spark",
    "nova",
    "openstack",
    "oslo",
    "httpd",
    "apache2",
    "tomcat-connectors",
    "android",
    "bgl",
    "windows",
)
"""Programs whose lines log_figures.py measures on; and what is made of them."""

SHOWN_FROM = {"redis": 5, "tor": 5, "nginx": 5, "trafficserver": 5, "krb5": 5, "corosync": 5, "ppp": 5, "cyrus-imapd": 5}
"""The least severe level that a program writes as it is delivered, where it is not informational."""
HIDDEN = 0.2
"""What a statement below that counts: few streams hold it."""

PROGRAMS = 5
"""A feature is learned when so many programs have it: what fewer say is their own vocabulary, and misleads elsewhere."""
DECAY = 1e-5
PASSES = 120
"""L-BFGS iterations."""


def text_of(statement: Statement) -> tuple[str, int]:
    """The masked text that a line of this statement would have, and its signs."""
    filled = statement.message.replace(HOLE, "7")
    text = mask(filled)[0]
    return text, signs(text, filled)


def weights_of(told: Sequence[Statement]) -> np.ndarray:
    """float (n,), sum 1: a program counts by the root of its statements, what is not shown by HIDDEN, a rare level somewhat more."""
    per_program = Counter(s.project for s in told)
    shown = [1.0 if s.project == PROGRAM or s.severity <= SHOWN_FROM.get(s.project, 6) else HIDDEN for s in told]
    weights = np.array(shown) / np.sqrt([per_program[s.project] for s in told])
    levels = np.array([s.severity for s in told])
    per_level = {level: weights[levels == level].sum() for level in PRIOR}
    weights = weights / np.array([per_level[level] for level in levels.tolist()]) ** 0.3
    return weights / weights.sum()


def learned_rows(told: Sequence[Statement], found: Sequence[list[int]], at_least: int) -> np.ndarray:
    """Rows of features that so many programs have, or that were written for this; ascending."""
    programs: dict[int, set[str]] = {}
    for statement, rows in zip(told, found):
        for row in rows:
            programs.setdefault(row, set()).add(statement.project)
    return np.array(sorted(row for row, having in programs.items() if len(having) >= at_least or (PROGRAM in having and len(having) > 1)))


def matrix(found: Sequence[list[int]], columns: np.ndarray) -> Tensor:
    """float32 CSR (n, len(columns)): each text has length 1, shared by its learned features."""
    place = {row: n for n, row in enumerate(columns.tolist())}
    kept = [[place[row] for row in rows if row in place] for rows in found]
    values = np.concatenate([np.full(len(places), 1 / max(1, len(places)) ** 0.5, np.float32) for places in kept])
    starts = np.concatenate([[0], np.cumsum([len(places) for places in kept])])
    return torch.sparse_csr_tensor(
        torch.tensor(starts),
        torch.tensor(np.concatenate([np.array(p, np.int64) for p in kept])),
        torch.tensor(values),
        size=(len(found), len(columns)),
    )


def fitted(told: Sequence[Statement], passes: int = PASSES, at_least: int = PROGRAMS) -> SeverityModel:
    """The weights that make the statements' levels likeliest, as INT8."""
    found = [features(*text_of(s)) for s in told]
    columns = learned_rows(told, found, at_least)
    given = matrix(found, columns)
    back = given.to_sparse_coo().t().to_sparse_csr()
    levels, counts = np.array([s.severity for s in told]), weights_of(told)
    answers = torch.zeros(len(told), LEVELS_LEARNED)
    answers[torch.arange(len(told)), torch.tensor(levels - FIRST)] = 1
    weights = torch.tensor(counts, dtype=torch.float32)[:, None]
    table = torch.nn.Parameter(torch.zeros(len(columns) + 1, LEVELS_LEARNED))  # features, bias
    optimizer = torch.optim.LBFGS([table], max_iter=passes, history_size=8, line_search_fn="strong_wolfe", tolerance_grad=1e-7)

    def loss() -> float:
        with torch.no_grad():
            log_odds = torch.log_softmax(given @ table[:-1] + table[-1], 1)
            error = weights * (log_odds.exp() - answers)
            table.grad = torch.cat([back @ error + DECAY * table[:-1], error.sum(0)[None]])
            return float(-(weights * answers * log_odds).sum() + DECAY / 2 * (table[:-1] ** 2).sum())

    optimizer.step(loss)
    rows = np.zeros((ROWS, LEVELS_LEARNED), np.float32)
    rows[columns] = table[:-1].detach().numpy()
    scales = np.maximum(np.abs(rows).max(0), 1e-9) / 127
    seen = np.array([max(counts[levels == level].sum(), 1e-9) for level in PRIOR])
    bias = table[-1].detach().numpy() - np.log(seen) + np.log(list(PRIOR.values()))
    return SeverityModel(
        (rows / scales).round().astype(np.int8),
        np.isin(np.arange(ROWS), columns),
        scales.astype(np.float32),
        bias.astype(np.float32),
        1.0,
        0.0,
    )


def logits_of(model: SeverityModel, told: Sequence[Statement]) -> np.ndarray:
    """(n, LEVELS_LEARNED)"""
    return np.stack([model.logits(*text_of(s)) for s in told])


def save(model: SeverityModel, path: Path) -> None:
    np.savez_compressed(
        path,
        codes=model.codes,
        learned=model.learned,
        scales=model.scales,
        bias=model.bias,
        slope=np.float32(model.slope),
        lean=np.float32(model.lean),
    )


def all_statements(folder: Path) -> list[Statement]:
    """Of every program under the folder, each statement once; those of the two levels that are not learned are left out. Raises ValueError for a program that is measured on."""
    found: dict[Statement, None] = {}
    for path in sorted(folder.iterdir()):
        if any(name in path.name.lower() for name in MEASURED):
            raise ValueError(
                f"{path}: its lines are measured on, and the figure is to be one of a system left out; take it out of {folder}"
            )
        found |= dict.fromkeys(s for s in statements(path.name, path) if s.severity >= FIRST)
    return list(found)


def with_texts(told: Sequence[Statement]) -> list[Statement]:
    return [*told, *written()]


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m models.training.severity", description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    p.add_argument("--sources", type=Path, required=True, help="folder with a folder or sources .jar per program")
    p.add_argument("--apart", type=Path, required=True, help="the same of other programs, which decide how sure the answers are")
    p.add_argument("--out", type=Path, default=WEIGHTS, help=f"file to write [{WEIGHTS}]")
    p.add_argument("--passes", type=int, default=PASSES, help=f"L-BFGS iterations [{PASSES}]")
    a = p.parse_args(arguments)
    torch.set_num_threads(1)
    told = all_statements(a.sources)
    print(
        f"{len(told)} statements of {len({s.project for s in told})} programs: {sorted(Counter(s.severity for s in told).items())}",
        flush=True,
    )
    model = fitted(with_texts(told), a.passes)
    met = {s.message for s in told}
    apart = [s for s in all_statements(a.apart) if s.message not in met]
    found = calibration(logits_of(model, apart), apart)
    print(f"{len(apart)} statements of {len({s.project for s in apart})} programs it never met: {found.figures}", flush=True)
    save(replace(model, slope=found.slope, lean=found.lean), a.out)
    print(f"{a.out} written; slope {found.slope:.2f}, lean {found.lean:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
