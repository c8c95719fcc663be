"""Severity by name: the eight levels of RFC 5424 and the words that loggers use for them.

Leaves headers to streams/log_lines.py, and lines that name no level to severity_model.py.
Next: models/severity_features.py
"""

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")
"""RFC 5424 numbers 0..7."""

LEVELS = {
    "emergency": 0, "emerg": 0, "alert": 1, "critical": 2, "crit": 2, "fatal": 2, "severe": 2, "panic": 0, "dpanic": 2,
    "error": 3, "err": 3, "erro": 3, "eror": 3, "failure": 3, "warning": 4, "warn": 4, "wrn": 4, "notice": 5,
    "informational": 6, "information": 6, "info": 6, "inf": 6, "config": 6, "audit": 6, "log": 6, "statement": 6, "default": 6,
    "debug": 7, "dbg": 7, "trace": 7, "trc": 7, "verbose": 7, "fine": 7, "finer": 7, "finest": 7,
    "f": 2, "e": 3, "w": 4, "n": 5, "i": 6, "d": 7, "v": 7, "t": 7,
}  # fmt: skip
"""Level words of the usual loggers, lower case; single letters as in logcat, glog and klog."""
