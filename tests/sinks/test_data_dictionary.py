"""docs/data-dictionary.md is what the migrations make, and says of every column what it means."""

import re

from sinks.clickhouse import ClickHouse
from tests.data_dictionary import PAGE, page


def test_the_data_dictionary_is_what_the_migrations_make(clickhouse: ClickHouse) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(clickhouse), "run `python -m tests.data_dictionary`"


def test_every_column_of_what_is_summed_up_has_a_meaning() -> None:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)
    built = [s for s in sections if s.startswith("built_")]
    assert len(built) >= 14
    assert [line for s in built for line in s.splitlines() if line.startswith("| `") and line.endswith("|  |")] == []
