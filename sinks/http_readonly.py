"""What a query is, before it runs: its kind, its format, and whether a read-only interface may run it.

The engine's own `readonly = 2` refuses every write, but an embedded engine still lets a SELECT read any file of its user, call
other servers, write `INTO OUTFILE` and run several statements at once. This file refuses those by the engine's own parse tree, never by guessing at
the text. It leaves HTTP to http_interface.py.
"""

import re
from dataclasses import dataclass
from typing import Any

from chdb.state.sqlitelike import Connection

from sinks.errors import SinkError

SAFE_TABLE_FUNCTIONS = {
    *("numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateseries", "generate_series", "generaterandom", "loop", "null"),
    *("values", "sqlstandardvalues", "view", "viewifpermitted", "viewexplain", "merge", "format", "fuzzjson", "fuzzquery"),
    *("mergetreeindex", "mergetreeprojection", "mergetreetextindex", "mergetreeanalyzeindexes"),
}
UNSAFE_FUNCTIONS = frozenset({"file", "python", "catboostevaluate"})
SAFE_ENGINES = {
    *("memory", "null", "log", "stripelog", "tinylog", "set", "join"),
    *("mergetree", "replacingmergetree", "aggregatingmergetree", "summingmergetree"),
}
CONTROL_ALLOWED = ("Set", "UseQuery", "CreateQuery", "DropQuery", "InsertQuery")
"""Beside reading: settings and database of a session, and its temporary tables; the engine refuses other tables."""
FORMATS_WITH_FILES = frozenset({"template", "templateignorespaces", "capnproto", "protobuf", "protobufsingle", "protobuflist"})
HIDDEN_EXPRESSIONS = re.compile(
    r"\b(additional_table_filters|additional_result_filter|parallel_replicas_custom_key|format_schema\w*|format_template\w*|infile|input_format_record_errors_file_path)\b",
    re.IGNORECASE,
)
"""Settings and clauses whose text is code or a path that the parse tree does not show."""
UNPARSED = re.compile(r"\b(file|url|remote|s3|python|executable|ai\w+)\b\W{0,3}\(", re.IGNORECASE)
"""In SHOW ... WHERE, which the tree does not show either."""
NODE = re.compile(r"^( *)(\w+)(?: (\S+))?")
POSITION = re.compile(r"failed at position (\d+)")
EXPLAIN = "EXPLAIN AST "


class RefusedQueryError(SinkError):
    """A query this interface does not run; `code` is ClickHouse's."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Parsed:
    """A query's shape."""

    root: str
    """Kind of the statement, as in the parse tree: SelectWithUnionQuery, InsertQuery, ..."""
    reads: bool
    """It gives rows and changes nothing."""
    format: str | None
    """Of its FORMAT clause."""
    tree: str = ""


def parse(connection: Connection, query: str, parameters: dict[str, str]) -> Parsed:
    """Look at a query without running it. Raises RefusedQueryError for no statement or several, and the engine's error for bad syntax."""
    kind: dict[str, Any] = connection._conn.classify_query(query)
    if kind["statement_count"] > 1:
        raise RefusedQueryError(62, "Syntax error (Multi-statements are not allowed): send one statement a request. (SYNTAX_ERROR)")
    if not query.strip().strip(";"):
        raise RefusedQueryError(62, "Syntax error: Empty query. (SYNTAX_ERROR)")
    reads = kind["query_class"].name == "READ_ONLY"
    try:
        tree = tree_of(connection, query, parameters)
    except Exception:
        if kind["statement_count"] == 0 and ";" not in query:  # nobody can parse it: the engine's own words have the right position
            connection.query(query, "TSVRaw", params=parameters)
        raise
    root = NODE.match(tree)
    last = tree.rstrip("\n").rpartition("\n")[2]
    named = re.match(r"^ Identifier (\w+)$", last) if reads else None
    return Parsed(root[2] if root else "", reads, named[1] if named else None, tree)


def tree_of(connection: Connection, query: str, parameters: dict[str, str]) -> str:
    try:
        answer: bytes = connection.query(EXPLAIN + query, "TSVRaw", params=parameters).bytes()
    except UnicodeDecodeError as problem:  # the engine's message holds half a character of the query
        raise RuntimeError(bytes(problem.object).decode("utf-8", "replace")) from problem
    except Exception as problem:
        shift = len(EXPLAIN)
        raise type(problem)(POSITION.sub(lambda m: f"failed at position {max(1, int(m[1]) - shift)}", str(problem))) from problem
    return answer.decode("utf-8", "replace")


def table_functions(connection: Connection) -> frozenset[str]:
    """Names of the table functions that read from elsewhere and are no ordinary function too."""
    listed = connection.query(
        "SELECT lower(name) FROM system.table_functions WHERE lower(name) NOT IN (SELECT lower(name) FROM system.functions)", "TSVRaw"
    ).bytes()
    return (frozenset(listed.decode().split()) - SAFE_TABLE_FUNCTIONS) | UNSAFE_FUNCTIONS


def check(query: str, parsed: Parsed, unsafe: frozenset[str], settings: dict[str, str]) -> None:
    """Raise RefusedQueryError unless the query only reads tables."""
    if not parsed.reads and parsed.root not in CONTROL_ALLOWED:
        raise refused(f"{parsed.root or 'this statement'} is not reading")
    hidden = HIDDEN_EXPRESSIONS.search(query) or next((m for name in settings if (m := HIDDEN_EXPRESSIONS.match(name))), None)
    if hidden:
        raise refused(f"'{hidden[0]}' may read files")
    if parsed.root.startswith("Show") and (hidden := UNPARSED.search(query)):
        raise refused(f"function {hidden[1]} reads from elsewhere")
    if parsed.format and parsed.format.lower() in FORMATS_WITH_FILES:
        raise refused(f"format {parsed.format} reads files")
    above: list[str] = []  # kinds of the nodes around the current one
    for line in parsed.tree.splitlines():
        node = NODE.match(line)
        if not node:
            continue
        depth, kind, name = len(node[1]), node[2], (node[3] or "").lower()
        del above[depth:]
        parent = above[-1] if above else ""
        above.append(kind)
        if kind != "Function":
            continue
        if parent == "Storage":
            allowed = name in SAFE_ENGINES
        elif parent in ("TableExpression", "CreateQuery", "InsertQuery"):
            allowed = name in SAFE_TABLE_FUNCTIONS
        else:
            allowed = name not in unsafe and not name.startswith("ai")
        if not allowed:
            raise refused(f"{'engine' if parent == 'Storage' else 'function'} {node[3]} reads or writes elsewhere")


def refused(what: str) -> RefusedQueryError:
    return RefusedQueryError(
        164, f"Cannot execute query in readonly mode: {what}; STRATA_CLICKHOUSE_HTTP_READONLY=false allows it. (READONLY)"
    )


def close_the_file_system(connection: Connection) -> bool:
    """Put an empty database in place of the embedded engine's `default`, in which every path is a table. False when it holds tables."""
    engine, tables = (
        connection.query(
            "SELECT any(engine), (SELECT count() FROM system.tables WHERE database = 'default') FROM system.databases WHERE name = 'default'",
            "TSVRaw",
        )
        .bytes()
        .decode()
        .split()
    )
    if engine != "Overlay":
        return True
    if tables != "0":
        return False
    connection.query("DROP DATABASE IF EXISTS default", "TSVRaw")
    connection.query("CREATE DATABASE default ENGINE = Memory", "TSVRaw")
    return True
