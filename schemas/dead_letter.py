"""Why a record is a dead letter, in headers with the names Kafka Connect uses, so that tools made for Connect read them.

Knows names and lengths; leaves who sends the record, under which id and with what else, to streams/failures.py and sinks/dead_letters.py.
"""

import traceback

from schemas.trace import Header

CONNECT = "__connect.errors."


def connect_headers(topic: str, partition: int, offset: int, connector: str, stage: str, problem: BaseException) -> list[Header]:
    """The headers of one refused record; what UTF-8 cannot write becomes a question mark."""
    reasons = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "connector.name": connector,
        "task.id": "0",
        "stage": stage,
        "class.name": f"{type(problem).__module__}.{type(problem).__qualname__}",
        "exception.class.name": type(problem).__name__,
        "exception.message": str(problem)[:4000],
        "exception.stacktrace": "".join(traceback.format_exception(problem))[-8000:],
    }
    return [(CONNECT + name, text.encode("utf-8", "replace")) for name, text in reasons.items()]
