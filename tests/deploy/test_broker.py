"""The embedded broker is a real one, as the contract wants it."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

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
