"""The work of the benchmark on Quix Streams: JSON in, a row per session with its changelog, one output for ten records.

A rival of the worker, run as a process in its own environment; knows nothing of ours. There is no guard against replays: that
favours it.
"""

from typing import Any

from quix_app import begin


def apply(value: dict[str, Any], state: Any) -> dict[str, Any] | None:
    """One record: the row, and every tenth time an output."""
    row = state.get("row") or {"items": 0, "characters": 0}
    row = {"items": row["items"] + 1, "characters": row["characters"] + len(value["text"])}
    state.set("row", row)
    if row["items"] % 10:
        return None
    return {"session_id": value["session_id"], "position": row["items"] - 1, **row}


def main() -> None:
    app, source, target = begin(__doc__, "json")
    made = app.dataframe(source).apply(apply, stateful=True).filter(lambda value: value is not None)
    made.to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
