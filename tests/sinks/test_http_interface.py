"""The HTTP interface, seen by ClickHouse's own clients: curl, urllib, clickhouse-connect."""

import asyncio
import gzip
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path

import clickhouse_connect
import lz4.frame
import pytest
import zstandard

from sinks import migrations
from sinks.clickhouse import MEMORY, ClickHouse, address
from sinks.deduplication import Table
from sinks.errors import UnavailableError
from sinks.http_interface import HttpInterface
from sinks.http_query import HttpConfig, split_insert
from tests.sinks.test_clickhouse import event


class Served:
    """An interface on a thread of its own."""

    def __init__(self, config: HttpConfig):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.interface = HttpInterface(MEMORY, config)
        self.port = self.run(self.interface.start())
        self.url = f"http://127.0.0.1:{self.port}"

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self) -> None:
        self.run(self.interface.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)

    def ask(
        self, sql: str | bytes = "", method: str = "POST", headers: dict | None = None, **parameters: object
    ) -> tuple[int, bytes, dict]:
        """Status, body and headers (names in lower case)."""
        url = f"{self.url}/?{urllib.parse.urlencode(parameters)}"
        body = sql.encode() if isinstance(sql, str) else sql
        request = urllib.request.Request(url, body if method == "POST" else None, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read(), {k.lower(): v for k, v in problem.headers.items()}

    def text(self, sql: str, **parameters: object) -> str:
        status, body, _ = self.ask(sql, **parameters)
        assert status == 200, body
        return body.decode()


@pytest.fixture(scope="module")
def http(clickhouse: ClickHouse) -> Iterator[Served]:
    served = Served(HttpConfig(port=0, timeout_s=20))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def writable(clickhouse: ClickHouse) -> Iterator[Served]:
    served = Served(HttpConfig(port=0, readonly=False))
    yield served
    served.stop()


@pytest.fixture(scope="module", autouse=True)
def numbers(clickhouse: ClickHouse) -> None:
    clickhouse.command("CREATE TABLE IF NOT EXISTS points (n UInt64, text String, at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY n")
    clickhouse.command("TRUNCATE TABLE points")
    clickhouse.command(
        "INSERT INTO points SELECT number, 'text ' || number, toDateTime64(1700000000 + number, 6, 'UTC') FROM numbers(200000)"
    )


def test_health_checks_say_ok(http: Served) -> None:
    for path in ("/", "/ping", "/replicas_status"):
        assert urllib.request.urlopen(http.url + path).read() == b"Ok.\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(http.url + "/nowhere")


def test_a_query_may_be_in_the_url_in_the_body_or_in_both(http: Served) -> None:
    assert http.ask(method="GET", query="SELECT 1")[1] == b"1\n"
    assert http.text("SELECT 2") == "2\n"
    assert http.text("3, 4", query="SELECT") == "3\t4\n"
    assert http.ask(method="GET", query=f"SELECT length('{'x' * 200_000}')")[1] == b"200000\n"


def test_an_error_that_holds_half_a_character_is_told_as_one(http: Served) -> None:
    status, body, headers = http.ask("SELECT {b:Array(String)}", param_b="['a'é]")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "130")
    assert b"expected comma or end of array" in body


def test_curl_works_as_it_is(http: Served) -> None:
    def curl(*arguments: str, data: bytes = b"") -> bytes:
        return subprocess.run(["curl", "-sS", *arguments], input=data, capture_output=True, check=True).stdout

    assert curl(http.url, "-d", "SELECT 'a&b=c+%41' FORMAT JSONEachRow") == b'{"\'a&b=c+%41\'":"a&b=c+%41"}\n'
    assert curl(http.url, "--data-binary", "@-", data=b"SELECT count() FROM points") == b"200000\n"
    assert curl(f"{http.url}/?query=SELECT+1%2B1") == b"2\n"
    assert curl("--compressed", "-H", "Accept-Encoding: gzip", f"{http.url}/?enable_http_compression=1", "-d", "SELECT 5") == b"5\n"


def test_the_answer_names_query_format_and_zone(http: Served) -> None:
    status, body, headers = http.ask("SELECT 1 AS x FORMAT JSON", query_id="my-id")
    assert (status, json.loads(body)["data"], json.loads(body)["rows"]) == (200, [{"x": 1}], 1)
    assert headers["x-clickhouse-query-id"] == "my-id"
    assert headers["x-clickhouse-format"] == "JSON"
    assert headers["content-type"] == "application/json; charset=UTF-8"
    assert headers["x-clickhouse-timezone"]
    assert headers["x-clickhouse-server-display-name"]
    assert "read_rows" in json.loads(headers["x-clickhouse-summary"])


def test_the_default_format_is_the_client_s_choice(http: Served) -> None:
    assert http.text("SELECT 1 AS x", default_format="JSONEachRow") == '{"x":1}\n'
    assert http.ask("SELECT 1 AS x", headers={"X-ClickHouse-Format": "CSVWithNames"})[1] == b'"x"\n1\n'
    assert http.text("SELECT 1 AS x FORMAT TSVWithNames", default_format="JSON") == "x\n1\n"


@pytest.mark.parametrize("name", ["TSV", "TSVWithNames", "CSVWithNamesAndTypes", "JSONEachRow", "JSON", "JSONCompactEachRowWithNames"])
def test_a_large_answer_is_the_same_in_pieces_and_whole(http: Served, name: str) -> None:
    sql = f"SELECT * FROM points ORDER BY n FORMAT {name}"
    in_pieces, whole = http.text(sql), http.text(sql, wait_end_of_query=1)
    if name == "JSON":
        assert json.loads(in_pieces)["data"] == json.loads(whole)["data"]
    else:
        assert in_pieces == whole
    assert in_pieces.count("text 199999") == 1


def test_names_come_above_no_rows(http: Served) -> None:
    assert http.text("SELECT n, text FROM points WHERE n < 0 FORMAT TSVWithNames") == "n\ttext\n"
    assert http.text("SELECT n FROM points WHERE n < 0 FORMAT JSONEachRow") == ""


def test_parameters_are_bound_by_the_engine(http: Served) -> None:
    assert http.text("SELECT {a:UInt8} + 1, {b:String}", param_a=4, param_b="it's") == "5\tit\\'s\n"
    assert http.ask("SELECT {a:UInt8}", param_a="x")[0] == 400


def test_settings_are_of_one_request(http: Served) -> None:
    asked = "SELECT getSetting('max_block_size')"
    assert http.text(asked, max_block_size=7) == "7\n"
    assert http.text(asked) != "7\n"
    assert http.text("SELECT 1 SETTINGS max_threads = 1") == "1\n"
    status, body, _ = http.ask("SELECT 1", no_such_setting=1)
    assert status == 404
    assert b"UNKNOWN_SETTING" in body


def test_errors_are_a_server_s(http: Served) -> None:
    for sql, status, code in [
        ("SELEC 1", 400, "62"),
        ("SELECT nope", 404, "47"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT 1 FORMAT Nope", 404, "73"),
        ("SELECT throwIf(1)", 500, "395"),
        ("SELECT 1; SELECT 2", 400, "62"),
    ]:
        got, body, headers = http.ask(sql)
        assert (got, headers["x-clickhouse-exception-code"]) == (status, code), body
        assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
        assert b"(version " in body
    assert b"failed at position 1 " in http.ask("SELEC 1")[1]


def test_an_error_in_the_middle_of_an_answer_breaks_it(http: Served) -> None:
    with pytest.raises(IncompleteRead) as failed:
        http.ask("SELECT throwIf(n = 190000), text FROM points FORMAT TSV", max_block_size=1000)
    assert b"(FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)" in failed.value.partial[-1000:]


def test_a_long_query_is_ended(http: Served) -> None:
    started = time.monotonic()
    status, body, _ = http.ask("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1", max_execution_time=1)
    assert (status, b"TIMEOUT_EXCEEDED" in body) == (408, True)
    assert time.monotonic() - started < 10


def test_a_long_query_stops_neither_health_checks_nor_others(http: Served) -> None:
    threads = [
        threading.Thread(
            target=http.ask,
            args=("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1",),
            kwargs={"max_execution_time": 2},
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    started = time.monotonic()
    assert urllib.request.urlopen(http.url + "/ping").read() == b"Ok.\n"
    assert http.text("SELECT 1") == "1\n"
    assert time.monotonic() - started < 1.5
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO points VALUES (1, 'x', now())",
        "INSERT INTO points FORMAT JSONEachRow {}",
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "DROP TABLE points",
        "TRUNCATE TABLE points",
        "ALTER TABLE points DELETE WHERE 1",
        "OPTIMIZE TABLE points",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "SELECT 1 INTO OUTFILE '/tmp/written-by-a-query'",
        "SELECT file('/etc/passwd')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "WITH t AS (SELECT * FROM url('http://127.0.0.1/', 'LineAsString')) SELECT * FROM t",
        "SELECT * FROM points WHERE n IN (SELECT FiLe('/etc/passwd'))",
        "SELECT * FROM default.`/etc/passwd`",
        "SELECT * FROM Python(x)",
        "DESCRIBE TABLE file('/etc/passwd')",
        "SHOW TABLES WHERE file('/etc/passwd') = ''",
        "CREATE TEMPORARY TABLE t (a String) ENGINE = File('LineAsString', '/etc/passwd')",
        "CREATE TEMPORARY TABLE t AS SELECT file('/etc/passwd')",
        "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '/etc/passwd'",
        "SELECT 1 SETTINGS additional_result_filter = 'file(\\'/etc/passwd\\') = 1'",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_a_read_only_interface_neither_writes_nor_reads_elsewhere(http: Served, sql: str) -> None:
    for session in ({}, {"session_id": f"session {hash(sql)}"}):
        status, body, _ = http.ask(sql, **session)
        assert status in (403, 404, 500), body
        assert b"READONLY" in body or b"UNKNOWN_TABLE" in body, body
        assert b"root:" not in body


def test_settings_of_the_url_open_no_way_around(http: Served) -> None:
    assert b"READONLY" in http.ask("SELECT 1", additional_result_filter="file('/etc/passwd') = 1")[1]
    assert b"READONLY" in http.ask("DROP TABLE points", readonly=0)[1]
    assert http.text("SELECT 'file(url(' FROM numbers(1) WHERE 'INTO OUTFILE' != ''") == "file(url(\n"


def test_a_session_keeps_its_temporary_tables_and_settings(http: Served) -> None:
    assert http.text("CREATE TEMPORARY TABLE mine AS SELECT 7 AS a", session_id="s1") == ""
    assert http.text("INSERT INTO mine VALUES (8)", session_id="s1") == ""
    assert http.text("SELECT sum(a) FROM mine", session_id="s1", max_block_size=5) == "15\n"
    assert http.text("SET max_threads = 1", session_id="s1") == ""
    assert http.text("SELECT getSetting('max_block_size') != 5", session_id="s1") == "1\n"
    assert http.ask("SELECT * FROM mine", session_id="s2")[0] == 404
    assert http.ask("SELECT 1", session_id="nobody", session_check=1)[0] in (404, 500)


@pytest.mark.parametrize(
    ("name", "unpack"),
    [
        ("gzip", gzip.decompress),
        ("zstd", lambda b: zstandard.ZstdDecompressor().decompressobj().decompress(b)),
        ("lz4", lz4.frame.decompress),
    ],
)
def test_answers_and_bodies_may_be_compressed(http: Served, name: str, unpack) -> None:
    for sql in ("SELECT text FROM points WHERE n < 10", "SELECT text FROM points ORDER BY n", "SELECT text FROM points FORMAT JSON"):
        status, body, headers = http.ask(sql, headers={"Accept-Encoding": name}, enable_http_compression=1)
        assert (status, headers.get("content-encoding")) == (200, name)
        plain = http.text(sql)
        assert unpack(body).decode()[:500] == plain[:500] if "JSON" in sql else unpack(body).decode() == plain
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "lz4": lz4.frame.compress}[name]
    assert http.ask(pack(b"SELECT 1"), headers={"Content-Encoding": name})[1] == b"1\n"
    assert http.ask(b"SELECT 1", headers={"Content-Encoding": name})[0] == 400


def test_the_referee_s_way_of_asking_works(http: Served) -> None:
    query = urllib.parse.urlencode({"database": "strata"})
    request = urllib.request.Request(f"{http.url}/?{query}", b"SELECT n, text FROM points WHERE n < 3 ORDER BY n FORMAT JSONEachRow", {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
        assert [json.loads(line)["text"] for line in answer if line.strip()] == ["text 0", "text 1", "text 2"]


def test_clickhouse_connect_reads(http: Served) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=http.port, database="strata")
    assert client.query("SELECT n, text FROM points ORDER BY n LIMIT 2").result_rows == [(0, "text 0"), (1, "text 1")]
    assert client.query("SELECT count() FROM points WHERE n < {n:UInt64}", parameters={"n": 10}).result_rows == [(10,)]
    assert client.query("SELECT n FROM points WHERE n < 0").result_rows == []
    assert client.command("SELECT count() FROM points") == 200000
    assert client.query_df("SELECT n, text, at FROM points").shape == (200000, 3)
    assert client.query_arrow("SELECT n FROM points").num_rows == 200000
    with client.query_rows_stream("SELECT n FROM points") as stream:
        assert sum(1 for _ in stream) == 200000
    assert client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 11}).result_rows == [(11,)]
    for compression in ("lz4", "zstd", "gzip", False):
        other = clickhouse_connect.get_client(host="127.0.0.1", port=http.port, database="strata", compress=compression)
        assert other.query("SELECT sum(n) FROM points").result_rows == [(19999900000,)]
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="readonly"):
        client.command("DROP TABLE points")
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="readonly"):
        client.insert("points", [[1, "x", 0]], column_names=["n", "text", "at"], column_type_names=["UInt64", "String", "DateTime64(6)"])


async def test_clickhouse_connect_reads_concurrently(http: Served) -> None:
    client = await clickhouse_connect.get_async_client(host="127.0.0.1", port=http.port, database="strata", autogenerate_session_id=False)
    answers = await asyncio.gather(
        *(client.query("SELECT count() FROM points WHERE n < {n:UInt64}", parameters={"n": n}) for n in range(20))
    )
    assert [a.result_rows[0][0] for a in answers] == list(range(20))
    await client.close()


def test_a_writable_interface_takes_inserts(writable: Served) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=writable.port, database="strata")
    client.command("CREATE OR REPLACE TABLE kept (a Int64, b String, m Map(String, String)) ENGINE = MergeTree ORDER BY a")
    rows = [[n, f"é{n}\n", {"k": "v"}] for n in range(1000)]
    assert client.insert("kept", rows, column_names=["a", "b", "m"]).written_rows == 1000
    assert writable.text("INSERT INTO kept (a, b) VALUES (1000, 'x')") == ""
    assert writable.text('{"a": 1001, "b": "FORMAT CSV"}\n{"a": 1002}', query="INSERT INTO kept FORMAT JSONEachRow") == ""
    assert writable.text('INSERT INTO kept (a, b) FORMAT CSV\n1003,"a;b"\n') == ""
    assert writable.text("INSERT INTO kept SELECT 1004, 'y', map()") == ""
    assert (
        writable.ask(gzip.compress(b"1005\tz\n"), headers={"Content-Encoding": "gzip"}, query="INSERT INTO kept (a, b) FORMAT TSV")[0]
        == 200
    )
    assert client.query("SELECT count(), max(a) FROM kept").result_rows == [(1006, 1005)]
    assert writable.ask("not a number\tx\n", query="INSERT INTO kept (a, b) FORMAT TSV")[0] == 400
    assert b"READONLY" in writable.ask(method="GET", query="DROP TABLE kept")[1]
    client.command("DROP TABLE kept")


def test_the_writer_itself_can_write_through_it_as_to_a_server(writable: Served) -> None:
    server = ClickHouse(address(f"clickhouse://default:x@127.0.0.1:{writable.port}/elsewhere", Path()))
    assert len(migrations.migrate(server, migrations.read())) == len(migrations.read())
    table = Table(server, "input_stream")
    assert table.write([event(n) for n in range(100)]).inserted == 100
    assert Table(server, "input_stream").write([event(n) for n in range(50, 150)]).inserted == 50
    refused = table.write([event(200), event(201, event_id="no uuid"), event(202)])
    assert (refused.inserted, [index for index, _ in refused.refused]) == (2, [1])
    assert server.rows("SELECT count(), uniqExact(event_id) FROM input_stream") == [(152, 152)]
    server.close()
    writable.text("DROP DATABASE elsewhere")
    with pytest.raises(UnavailableError, match="is it running"):
        ClickHouse(address("clickhouse://127.0.0.1:1/strata", Path()))


def test_credentials_are_checked_when_set(clickhouse: ClickHouse) -> None:
    served = Served(HttpConfig(port=0, user="me", password="secret"))
    try:
        assert served.ask("SELECT 1")[0] == 403
        assert served.ask("SELECT 1", headers={"X-ClickHouse-User": "me", "X-ClickHouse-Key": "wrong"})[0] == 403
        assert served.ask("SELECT 1", headers={"X-ClickHouse-User": "me", "X-ClickHouse-Key": "secret"})[0] == 200
        assert served.ask("SELECT 1", headers={"Authorization": "Basic bWU6c2VjcmV0"})[0] == 200
        assert served.ask("SELECT 1", user="me", password="secret")[0] == 200
        assert clickhouse_connect.get_client(host="127.0.0.1", port=served.port, username="me", password="secret").command("SELECT 1") == 1
    finally:
        served.stop()


def test_a_name_that_a_web_page_points_here_is_refused(http: Served) -> None:
    assert http.ask("SELECT 1", headers={"Host": "evil.example"})[0] == 403
    assert http.ask("SELECT 1", headers={"Host": f"localhost:{http.port}"})[0] == 200


@pytest.mark.parametrize(
    ("text", "statement", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t", "CSV", b"1,2\n"),
        (b"INSERT INTO t (`FORMAT x`) FORMAT  Native\r\n\x01\x00", b"INSERT INTO t (`FORMAT x`)", "Native", b"\x01\x00"),
        (b"insert into t settings a='FORMAT b' format TSV 1", b"insert into t settings a='FORMAT b'", "TSV", b"1"),
        (b"INSERT INTO t VALUES ('a FORMAT CSV 1')", b"INSERT INTO t VALUES ('a FORMAT CSV 1')", "", None),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", b"INSERT INTO t SELECT 1 FORMAT CSV", "", None),
        (b"SELECT 1 FORMAT CSV", b"SELECT 1 FORMAT CSV", "", None),
    ],
)
def test_an_insert_is_cut_where_its_data_begin(text: bytes, statement: bytes, name: str, data: bytes | None) -> None:
    assert split_insert(text) == (statement, name, data)
