"""The embedded broker is a real one, as the contract wants it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.errors import NotReadyError
from deploy.local import aot, kafka_server, ports, probe, processes
from deploy.local import broker as embedded

pytestmark = pytest.mark.broker


async def test_a_record_of_ten_megabytes_goes_through_and_is_stamped_by_the_broker(broker: str, topic_prefix: str) -> None:
    topic = topic_prefix + "big"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_request_size=16 << 20)
    await producer.start()
    sent = await producer.send_and_wait(topic, b"x" * (10 << 20), timestamp_ms=1)
    await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, max_partition_fetch_bytes=16 << 20, fetch_max_bytes=64 << 20)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    record = await consumer.getone()
    await consumer.stop()
    assert len(record.value or b"") == 10 << 20
    assert record.timestamp_type == 1
    assert record.timestamp == sent.timestamp > 1_000_000_000_000


async def test_an_unknown_topic_is_not_created_by_asking_for_it(broker: str, topic_prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    seen = await admin.describe_topics([topic_prefix + "none"])
    names = await admin.list_topics()
    await admin.close()
    assert seen[0]["error_code"] == 3
    assert topic_prefix + "none" not in names


def test_an_ahead_of_time_cache_that_is_garbage_does_not_stop_the_broker(tmp_path: Path) -> None:
    shared, mine = embedded.default_cache_dir(os.environ), tmp_path / "cache"
    one = embedded.assemble(tmp_path / "data", ports.free_port(), shared, os.environ, lambda what, done, total: None)
    stale = aot.cache_file(one, mine)
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another time" * 1000)
    kafka_server.prepare(one)
    process = embedded.start_until_ready(one, mine, tmp_path / "log")
    try:
        assert probe.kafka_nodes(one.bootstrap) == 1
    finally:
        processes.stop(process, 10.0)


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    shared = embedded.default_cache_dir(os.environ)
    one = embedded.assemble(tmp_path / "data", ports.free_port(), shared, os.environ, lambda what, done, total: None)
    kafka_server.prepare(one)
    one.settings_file.write_text(one.settings_file.read_text() + "node.id=7\n")
    with pytest.raises(NotReadyError, match=r"(?s)the broker ended with status 1; .*node"):
        embedded.start_until_ready(one, tmp_path / "cache", tmp_path / "log")


def test_a_cluster_id_never_begins_with_a_dash_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([bytes([0xF8]) + bytes(15), bytes(16)])
    monkeypatch.setattr(kafka_server.uuid, "uuid4", lambda: SimpleNamespace(bytes=next(drawn)))
    assert kafka_server.cluster_id(tmp_path / "id") == "A" * 22 == kafka_server.cluster_id(tmp_path / "id")
