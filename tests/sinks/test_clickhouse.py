"""Inserting: every event once, whatever is repeated; a row that does not fit stops no other."""

import uuid

import pytest

from schemas.codec import Codec, Stored, encoder
from schemas.events import Event
from sinks import migrations
from sinks.clickhouse import Address, ClickHouse, sorted_error
from sinks.deduplication import Table
from sinks.errors import MigrationError, RowsRefusedError, UnavailableError
from sinks.rows import COLUMNS, to_block


def fields(n: int, session: str = "s", offset: int | None = None, **other: object) -> dict:
    """Row n of input_stream; the same n is the same event."""
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{session}/{n}")),
        "timestamp": 1_700_000_000_000_000 + n,
        "session_id": session,
        "modality": "tokens",
        "model_version": "v",
        "trace_id": "0" * 32,
        "kafka_topic": "tokens",
        "kafka_partition": 0,
        "kafka_offset": n if offset is None else offset,
        "token_id": n,
        "token_text": f"word {n} ",
        "token_position": n,
        "buffer_size": 1,
        "metadata": {"b": "2", "a": "1"},
        **other,
    }


def event(n: int, session: str = "s", offset: int | None = None, **other: object) -> Stored:
    """The same on its way to the table."""
    return Codec().event("input_stream", encoder("input_stream")(fields(n, session, offset, **other)))


@pytest.fixture
def database(clickhouse: ClickHouse) -> ClickHouse:
    for name in COLUMNS:
        clickhouse.command(f"TRUNCATE TABLE {name}")
    return clickhouse


def stored(database: ClickHouse, table: str = "input_stream") -> tuple[int, int]:
    return database.rows(f"SELECT count(), uniqExact(event_id) FROM {table}")[0]  # type: ignore[return-value]


def test_a_row_is_stored_as_it_is(database: ClickHouse) -> None:
    text = "a\0b 'x' \\ \t\n ü€😀"
    row = event(1, token_text=text, session_id="s'\\\0")
    assert Table(database, "input_stream").write([row]).inserted == 1
    asked = "SELECT toString(event_id), toUnixTimestamp64Micro(timestamp), session_id, token_text, metadata, kafka_offset FROM input_stream"
    assert database.rows(asked) == [(row.event_id, 1_700_000_000_000_001, "s'\\\0", text, {"a": "1", "b": "2"}, 1)]
    assert Table(database, "input_stream").write([row]).duplicates == 1


def test_an_answer_without_label_and_value_has_null_and_not_a_number(database: ClickHouse) -> None:
    own = {"prediction_id": "p", "prediction_type": "final", "task": "topic", "revision": 0, "position": 3, "span_start": 0, "span_end": 4}
    given = {k: v for k, v in fields(1).items() if k in Event.__struct_fields__} | own
    values = [given, given | {"event_id": str(uuid.UUID(int=7)), "label": "hotel", "confidence": 0.5, "value": -1.5}]
    rows = [Codec().event("predictions", encoder("predictions")(v)) for v in values]
    assert Table(database, "predictions").write(rows).inserted == 2
    asked = "SELECT label, confidence, isNaN(value), output FROM predictions ORDER BY label NULLS FIRST"
    assert database.rows(asked) == [(None, None, 1, "{}"), ("hotel", 0.5, 0, "{}")]


def test_an_event_repeated_in_a_batch_or_later_is_stored_once(database: ClickHouse) -> None:
    table = Table(database, "input_stream")
    assert table.write([event(n) for n in (0, 1, 1, 2)]).inserted == 3
    assert table.write([event(n) for n in (1, 2, 3)]).inserted == 1
    assert table.write([event(n) for n in (0, 3)]).inserted == 0
    assert stored(database) == (4, 4)


def test_a_new_writer_that_starts_in_the_middle_of_what_is_stored_repeats_nothing(database: ClickHouse) -> None:
    Table(database, "input_stream").write([event(n) for n in range(100)])
    after_restart = Table(database, "input_stream")
    written = [after_restart.write([event(n) for n in range(low, low + 7)]) for low in range(20, 160, 7)]
    assert sum(w.inserted for w in written) == 60
    assert stored(database) == (160, 160)


def test_a_session_whose_records_were_forwarded_from_another_partition_is_looked_up_by_both(database: ClickHouse) -> None:
    forwarded = event(1000, offset=5000, kafka_partition=3)
    Table(database, "input_stream").write([*(event(n) for n in range(10)), forwarded])
    after_restart = Table(database, "input_stream")
    after_restart.write([event(5)])
    after_restart.write([forwarded, event(10)])
    assert stored(database) == (12, 12)


def test_several_events_of_one_input_offset_may_come_in_two_batches(database: ClickHouse) -> None:
    table = Table(database, "input_stream")
    table.write([event(1, offset=7), event(2, offset=7)])
    table.write([event(2, offset=7), event(3, offset=7)])
    assert stored(database) == (3, 3)


@pytest.mark.parametrize("bad", [{"event_id": "no uuid"}, {"event_id": "x" * 36}, {"token_id": 2**40}])
def test_a_row_the_table_refuses_is_told_and_stops_no_other(database: ClickHouse, bad: dict) -> None:
    rows = [event(n) for n in range(20)]
    rows[13] = event(13, **bad)
    written = Table(database, "input_stream").write(rows)
    assert written.inserted == 19
    assert [index for index, _ in written.refused] == [13]
    assert stored(database) == (19, 19)


def test_rows_of_many_months_fit_into_one_insert(database: ClickHouse) -> None:
    month_us = 31 * 24 * 3600 * 1_000_000
    written = Table(database, "input_stream").write([event(n, timestamp=n * month_us) for n in range(150)])
    assert (written.inserted, stored(database)) == (150, (150, 150))


def test_an_insert_whose_answer_was_lost_is_not_repeated(database: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ClickHouse.insert

    def landed_but_unanswered(self: ClickHouse, table: str, block: bytes, token: str, form: str) -> None:
        real(self, table, block, token, form)
        raise UnavailableError("the connection broke")

    table = Table(database, "input_stream")
    table.write([event(0)])
    monkeypatch.setattr(ClickHouse, "insert", landed_but_unanswered)
    with pytest.raises(UnavailableError):
        table.write([event(n) for n in range(1, 5)])
    monkeypatch.setattr(ClickHouse, "insert", real)
    assert table.write([event(n) for n in range(1, 6)]).inserted == 1
    assert stored(database) == (6, 6)


def test_a_block_that_lands_late_is_dropped_by_its_token(database: ClickHouse) -> None:
    form, block = to_block("input_stream", [event(1), event(2)])
    for _ in range(2):
        database.insert("input_stream", block, "token", form)
    assert stored(database) == (2, 2)


def test_errors_are_sorted_into_those_that_pass_and_those_that_stay(database: ClickHouse) -> None:
    with pytest.raises(UnavailableError, match="UNKNOWN_TABLE"):
        database.rows("SELECT 1 FROM nowhere")
    with pytest.raises(RowsRefusedError):
        database.command("INSERT INTO input_stream (event_id) SELECT 'no uuid'")
    assert isinstance(sorted_error(TimeoutError("x")), UnavailableError)


def test_every_column_of_a_table_is_filled_from_its_topic(database: ClickHouse) -> None:
    for table, columns in COLUMNS.items():
        given = f"database = 'strata' AND table = '{table}' AND default_kind != 'MATERIALIZED'"
        found = database.rows(f"SELECT name FROM system.columns WHERE {given} ORDER BY position")
        assert [name for (name,) in found] == list(columns)


def test_migrations_are_applied_once_and_a_changed_one_is_an_error() -> None:
    folder = migrations.read()
    database = ClickHouse(Address(":memory:", database="migrated"))
    try:
        assert migrations.migrate(database, folder) == folder
        assert migrations.migrate(database, folder) == []
        changed = [*folder[:-1], migrations.Migration(folder[-1].version, folder[-1].name, folder[-1].sql + "SELECT 1;\n")]
        with pytest.raises(MigrationError, match="restore the file"):
            migrations.migrate(database, changed)
        more = migrations.Migration(len(folder) + 1, "more", "ALTER TABLE labels ADD COLUMN IF NOT EXISTS extra String;\n")
        assert migrations.migrate(database, [*folder, more]) == [more]
        with pytest.raises(MigrationError, match="run the newer version"):
            migrations.migrate(database, folder)
    finally:
        database.command("DROP DATABASE migrated")
        database.close()
