"""How every peer on Quix Streams begins: its flags, the application, the topics read and written.

Settings are the library's but for the commit interval, a second as everybody's. Knows nothing of ours.
"""

import argparse
from typing import Any, NamedTuple

from quixstreams import Application


class Peer(NamedTuple):
    """An application and its topics, keys as bytes."""

    app: Any
    source: Any
    target: Any


def begin(description: str | None, values: str) -> Peer:
    """values: how records are read and written, `json` or `bytes`."""
    parser = argparse.ArgumentParser(description=description)
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
    source = app.topic(args.source, key_deserializer="bytes", value_deserializer=values)
    return Peer(app, source, app.topic(args.target, key_serializer="bytes", value_serializer=values))
