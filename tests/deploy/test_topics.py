"""Topics on a real broker: made once, whole, and counted."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.errors import StackError
from deploy.local import topics
from schemas.topics import all_topics, app_id, changelogs

pytestmark = pytest.mark.broker


async def test_topics_are_created_once_with_equal_partitions_and_their_settings(broker: str, topic_prefix: str) -> None:
    wanted = all_topics(topic_prefix)
    assert await topics._create_missing(broker, wanted, 3) == [t.name for t in wanted]
    assert await topics._create_missing(broker, wanted, 3) == []
    found = await topics._survey(broker, topic_prefix)
    assert [(t.topic, t.partitions) for t in found] == [(t.name, 3) for t in wanted]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    name = changelogs(topic_prefix)[0].name
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    await admin.close()
    settings = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert settings["cleanup.policy"] == "compact"
    assert settings["max.message.bytes"] == str(16 << 20)


async def test_a_topic_with_another_number_of_partitions_is_named_with_the_way_out(broker: str, topic_prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic_prefix + "logs", 5, 1)])
    await admin.close()
    with pytest.raises(StackError, match=rf"3 partitions each, but {topic_prefix}logs has 5; set STRATA_PARTITIONS"):
        await topics._create_missing(broker, all_topics(topic_prefix), 3)


async def test_lag_is_what_a_group_has_not_committed_of_the_topics_it_reads(broker: str, topic_prefix: str) -> None:
    await topics._create_missing(broker, all_topics(topic_prefix), 2)
    topic = topic_prefix + "tokens"
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for partition, n in ((0, 5), (1, 7)):
        for _ in range(n):
            await producer.send_and_wait(topic, b"x", partition=partition)
    await producer.stop()
    group = app_id(topic_prefix)
    before = {t.topic: t for t in await topics._survey(broker, topic_prefix)}
    assert (before[topic].begin, before[topic].end, before[topic].lag) == (0, 12, {group: 12})
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    await consumer.commit({TopicPartition(topic, 1): 3})
    await consumer.stop()
    after = {t.topic: t for t in await topics._survey(broker, topic_prefix)}
    assert after[topic].lag == {group: 9}
    assert after[topic_prefix + "dead-letter"].lag == {}


def test_a_broker_that_is_not_there_is_a_clear_error(topic_prefix: str) -> None:
    with pytest.raises(StackError, match=r"topics on 127\.0\.0\.1:1: .*strata up"):
        topics.survey("127.0.0.1:1", topic_prefix)
