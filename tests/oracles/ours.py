"""Our figures with the data they speak of, for tests/oracles/theirs.py: `python -m tests.oracles.ours FILE`.

Makes rows as a demo leaves them, asks the questions `drift` and `expected` of ClickHouse, and writes both as JSON. Numbers are told in the fine bins in
which they are summed up, so that what is compared is the formula.
"""

import json
import sys
from pathlib import Path

from sinks import migrations, questions, rollups
from sinks.clickhouse import MEMORY, Address, ClickHouse
from tests.sinks.evaluation_rows import insert
from tests.sinks.figure_oracles import Stored, key, sides
from tests.sinks.test_console_figures import Sample

WIDTH = {"confidence": 0.005, "surprise": 0.1, "input_length": 0.125}


def main(file: str) -> None:
    database = ClickHouse(Address(MEMORY))
    migrations.migrate(database, migrations.read())
    rows = Sample(11).rows
    for table, some in rows.items():
        insert(database, table, some)
    rollups.refresh(database)
    hashes = dict(database.rows("SELECT DISTINCT token_id, toString(sipHash64(token_id) % 64) FROM input_stream"))
    stored = Stored(**rows, hash_of_token=hashes)
    drifts = {key(**questions.about(row)): row for row in questions.ask(database, "drift")}
    features = []
    for k, one in sides(stored).items():
        about, row = dict(k), drifts[k]
        width = WIDTH.get(about["feature"])
        told = {name: row[name] for name in ("psi", "js", "ks", "wasserstein")}
        before, after = ([v * width if width else str(v) for v in side] for side in (one.before, one.after))
        groups = {"groups_before": [str(g) for g in one.groups_before], "groups_after": [str(g) for g in one.groups_after]}
        features.append({"about": about, "is_number": width is not None, "ours": told, "before": before, "after": after, **groups})
    expected = []
    for row in questions.ask(database, "expected"):
        about = {**questions.about(row), "level": row["level"]}
        mine = [a for a in stored.answers if a["final"] and a["confidence"] is not None and all(a[n] == v for n, v in about.items())]
        answers = [{"said": a["label"], "confidence": a["confidence"], "truth": a["truth"]} for a in mine]
        expected.append({"about": about, "ours": row["expected"], "answers": answers})
    database.close()
    Path(file).write_text(json.dumps({"features": features, "expected": expected}))
    print(f"{len(features)} features and {len(expected)} expected accuracies in {file}")


if __name__ == "__main__":
    main(sys.argv[1])
