"""An answer of ClickHouse as a table in the terminal.

Knows names, types and rows; leaves asking to clickhouse_http.py.
"""

import json
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMAT = "JSONCompactEachRowWithNamesAndTypes"
NUMBERS = ("Int", "UInt", "Float", "Decimal", "Nullable(Int", "Nullable(UInt", "Nullable(Float", "Nullable(Decimal")


def parse(body: bytes) -> tuple[list[str], list[str], list[list[Any]]] | None:
    """Names, types and rows of a body in FORMAT; None when it is in another format."""
    lines = body.splitlines()
    if len(lines) < 2 or not lines[0].startswith(b"["):
        return None
    try:
        names, types, *rows = (json.loads(line) for line in lines if line)
    except ValueError:
        return None
    is_table = all(isinstance(x, list) for x in (names, types, *rows)) and len(names) == len(types)
    return (names, types, rows) if is_table else None


def table(names: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Numbers to the right, the rest to the left; cells as ClickHouse writes them."""
    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name, kind in zip(names, types, strict=True):
        numeric = kind.startswith(NUMBERS)
        drawn.add_column(Text(name), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell(value), style="dim" if value is None else "") for value in row))
    return drawn


def cell(value: Any) -> str:
    """A value as text: no quotes around strings, NULL as ClickHouse writes it, control characters made visible."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else {"\n": "⏎", "\t": "→"}.get(c, repr(c)[1:-1]) for c in text)


def console(width: int | None = None) -> Console:
    """Standard output; not cut to a width when it goes to a file or a pipe."""
    drawn = Console(highlight=False, width=width)
    return drawn if drawn.is_terminal or width else Console(highlight=False, width=10_000, soft_wrap=True)
