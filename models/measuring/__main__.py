"""`python -m models.measuring WHAT ...`: one measurement of the text model as a line of JSON, for `strata bench`.

Knows flags; leaves measuring to trunk.py, alone.py and memory.py. Texts are a file with a JSON list of pieces.
Next: models/measuring/trunk.py
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from models.measuring import alone, memory, trunk


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.measuring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    what = parser.add_subparsers(dest="what", required=True)
    matrix = what.add_parser("trunk", help="cached trunk, naive way, peak of the cores")
    matrix.add_argument("--sessions", type=int, default=128)
    matrix.add_argument("--rounds", type=int, default=5)
    matrix.add_argument("--threads", type=int)
    matrix.add_argument("--products", choices=("float32", "bfloat16", "int8"), help="[default: as the worker takes them here]")
    matrix.add_argument("--model")
    rate = what.add_parser("alone", help="the whole model, pieces a second")
    rate.add_argument("--sessions", type=int, default=128)
    rate.add_argument("--seconds", type=float, default=10.0)
    rate.add_argument("--chunk", type=int, default=16)
    rate.add_argument("--warm", type=int, default=16)
    sessions = what.add_parser("sessions", help="cost of a piece against how many sessions")
    sessions.add_argument("--counts", type=int, nargs="+", default=[1, 8, 32, 128, 512])
    sessions.add_argument("--pieces", type=int, default=512)
    sessions.add_argument("--rounds", type=int, default=3)
    lengths = what.add_parser("lengths", help="cost of a piece against how long its session is")
    lengths.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    lengths.add_argument("--sessions", type=int, default=2)
    lengths.add_argument("--pieces", type=int, default=384)
    lengths.add_argument("--rounds", type=int, default=3)
    held = what.add_parser("memory", help="memory of hot sessions, bytes of rows, time to rebuild")
    held.add_argument("--sessions", type=int, default=1000)
    held.add_argument("--items", type=int, default=240)
    held.add_argument("--max-mb", type=float, default=512.0)
    for one in (rate, sessions, lengths, held):
        one.add_argument("--texts", type=Path, required=True)
    a = parser.parse_args()
    json.dump(_measured(a), sys.stdout)
    return 0


def _measured(a: argparse.Namespace) -> Any:
    if a.what == "trunk":
        return trunk.measure(a.sessions, a.rounds, a.threads, a.products, a.model)
    texts = json.loads(a.texts.read_bytes())
    if a.what == "alone":
        return alone.measure(texts, a.sessions, a.seconds, a.chunk, a.warm)
    if a.what == "sessions":
        return alone.by_sessions(texts, a.counts, a.pieces, a.rounds)
    if a.what == "lengths":
        return alone.by_length(texts, a.lengths, a.sessions, a.pieces, a.rounds)
    return memory.measure(texts, a.sessions, a.items, a.max_mb)


if __name__ == "__main__":
    sys.exit(main())
