"""Migrations: numbered SQL files, applied once, in order, and remembered with their checksum.

Knows files and the table schema_migrations; leaves what the tables hold to the files. A statement says IF NOT EXISTS, so that a crash
between a statement and its record repeats it without harm.
Next: sinks/sql/tables/0001_input_stream.sql
"""

import logging
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from sinks.errors import MigrationError

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent / "sql" / "tables"
NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
REMEMBER = """CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, checksum String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6))
ENGINE = ReplacingMergeTree ORDER BY version"""


class Database(Protocol):
    """What a migration needs of ClickHouse."""

    def command(self, sql: str) -> object: ...

    def rows(self, sql: str) -> list[tuple]: ...


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Of the text without the white space at line ends."""
        return sha256("\n".join(line.rstrip() for line in self.sql.strip().splitlines()).encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Split at a semicolon that ends a line; comment lines are left out."""
        text = "\n".join(line for line in self.sql.splitlines() if not line.lstrip().startswith("--"))
        return [s.strip() for s in re.split(r";[ \t]*(?:\n|$)", text) if s.strip()]


def read(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, in order. Raises MigrationError for a wrong name, a number missing or given twice."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = NAME.match(path.name)
        if not match:
            raise MigrationError(f"migration {path.name}: the name must be like 0001_some_words.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    for wanted, migration in enumerate(found, 1):
        if migration.version != wanted:
            raise MigrationError(
                f"migration {migration.version:04d}_{migration.name}: expected number {wanted:04d}; number files without gaps"
            )
    return found


def migrate(database: Database, migrations: list[Migration]) -> list[Migration]:
    """Apply those that are new; returns them. Raises MigrationError before changing anything when an applied one differs."""
    database.command(REMEMBER)
    applied = {
        int(version): (name, checksum)
        for version, name, checksum in database.rows("SELECT version, name, checksum FROM schema_migrations FINAL")
    }
    for migration in migrations:
        name, checksum = applied.get(migration.version, (migration.name, migration.checksum))
        if checksum != migration.checksum:
            raise MigrationError(
                f"migration {migration.version:04d}_{name} was applied with checksum {checksum[:12]}, the file now has {migration.checksum[:12]}; "
                "restore the file and put the change into a new one"
            )
    if unknown := sorted(set(applied) - {m.version for m in migrations}):
        raise MigrationError(
            f"the database has migration {unknown[-1]:04d}_{applied[unknown[-1]][0]}, which this version does not know; run the newer version"
        )
    new = [m for m in migrations if m.version not in applied]
    for migration in new:
        for statement in migration.statements:
            database.command(statement)
        database.command(
            f"INSERT INTO schema_migrations (version, name, checksum) VALUES ({migration.version}, '{migration.name}', '{migration.checksum}')"
        )
        log.info("applied migration %04d_%s", migration.version, migration.name)
    return new
