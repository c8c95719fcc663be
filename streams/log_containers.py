"""Lines that a container runtime wrote around a program's: Kubernetes' CRI format and Docker's json-file.

Knows how a runtime cuts long lines; the program's own header is read by log_lines.py, and models/log_traces.py joins the pieces.
Next: streams/log_json.py
"""

import re
from typing import Any

from streams.log_fields import taken, time_of
from streams.log_line import ANYTHING, LogLine
from streams.log_times import of_date

PARTIAL_BYTES = 16_384
"""Docker cuts a line into pieces of this size; all but the last have no line feed."""
_CRI = re.compile(r" (stdout|stderr) ([FP])(?::[^ ]*)?(?: |$)")


def from_cri(text: str, date: re.Match[str]) -> LogLine | None:
    """`time stream tag message`; the tag P says that the line goes on, F that it ends here."""
    at = _CRI.match(text, date.end()) if text.startswith(" std", date.end()) else None
    if at is None:
        return None
    fields, message = {"stream": at[1]}, text[at.end() :]
    return LogLine(message, timestamp_us=of_date(date), fields=fields, is_partial=at[2] == "P", writer=at[1], wraps=ANYTHING)


def from_docker(fields: dict[str, Any]) -> LogLine:
    """One object of a json-file, also as log shippers pass it on with what Kubernetes knows of the pod."""
    used, raw = {"log"}, fields["log"]
    at_us, pod = time_of(taken(fields, ("time", "@timestamp", "timestamp"), used)), fields.get("kubernetes")
    known = pod if isinstance(pod, dict) else {}
    rest = {name: value for name, value in fields.items() if name not in used and name != "kubernetes"}
    rest |= {name: known[name] for name in ("namespace_name", "pod_name") if isinstance(known.get(name), str)}
    host, app = (str(known.get(name) or "") for name in ("host", "container_name"))
    is_partial = not raw.endswith("\n") and len(raw) * 4 >= PARTIAL_BYTES <= len(raw.encode("utf-8", "replace"))
    writer = f"{rest.get('pod_name', '')} {app} {fields.get('stream', '')}"
    return LogLine(raw.rstrip("\r\n"), None, "", at_us, host, app, "", rest, is_partial=is_partial, writer=writer, wraps=ANYTHING)
