"""The work of the benchmark on Quix Streams: JSON in, a row per session with its changelog, one output for ten records.

A rival of the worker, run as a process in its own environment; knows nothing of ours. Settings are the library's but for the commit
interval, a second as everybody's. There is no guard against replays: that favours it.
"""

import argparse
from typing import Any

from quixstreams import Application


def apply(value: dict[str, Any], state: Any) -> dict[str, Any] | None:
    """One record: the row, and every tenth time an output."""
    row = state.get("row") or {"items": 0, "characters": 0}
    row = {"items": row["items"] + 1, "characters": row["characters"] + len(value["text"])}
    state.set("row", row)
    if row["items"] % 10:
        return None
    return {"session_id": value["session_id"], "position": row["items"] - 1, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "group", "source", "target", "data-dir"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    app = Application(
        broker_address=args.bootstrap,
        consumer_group=args.group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=args.data_dir,
        loglevel="WARNING",
    )
    source = app.topic(args.source, key_deserializer="bytes", value_deserializer="json")
    target = app.topic(args.target, key_serializer="bytes", value_serializer="json")
    made = app.dataframe(source).apply(apply, stateful=True).filter(lambda value: value is not None)
    made.to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
