"""The embedded ClickHouse the tests of the writer share: a process can have one engine, so it is in memory and opened once."""

from collections.abc import Iterator

import pytest

from sinks import migrations
from sinks.clickhouse import MEMORY, Address, ClickHouse


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouse]:
    """A migrated database `strata`."""
    database = ClickHouse(Address(MEMORY))
    migrations.migrate(database, migrations.read())
    yield database
    database.close()
