"""The error tree of the writer: what can go wrong between a topic and a table, and who answers it.

StrataError
└── SinkError
    ├── MigrationError         tables are not as this program knows them: the process does not start
    ├── EngineBusyError        another process has the data folder open: the process does not start
    ├── UnavailableError       ClickHouse does not answer, or not now (retriable): the consumer tries again until it does
    └── RowsRefusedError       the table cannot hold these values: the consumer halves the batch down to the row
"""

from schemas.errors import StrataError


class SinkError(StrataError):
    """Base of the writer's errors."""


class MigrationError(SinkError):
    """The database's schema and the migration files disagree."""


class EngineBusyError(SinkError):
    """The embedded engine's folder is in use."""


class UnavailableError(SinkError):
    """Another try can help."""

    retriable = True


class RowsRefusedError(SinkError):
    """At least one row of a batch cannot be stored; another try gives the same answer."""
