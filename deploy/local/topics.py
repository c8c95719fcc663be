"""Topics made before anything runs, changelogs too; their counts and offsets read for people.

Knows Kafka's admin calls; leaves names and settings of topics to schemas/topics.py.
A table whose changelog has another number of partitions than its source eats events, so counts are compared before a worker starts.
Next: deploy/local/plan.py
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError, KafkaError, NotCoordinatorForGroupError, for_code

from deploy.errors import StackError
from deploy.local import probe
from schemas.topics import INPUTS, OUTPUTS, SINK_GROUP, TRACES, Topic, all_topics, app_id

ALREADY_EXISTS = 36
CREATE_MS = 30_000
SERVED_S = 15.0
GROUPS_COME = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
"""What a broker says of a group's coordinator that is on its way."""


@dataclass(frozen=True)
class TopicState:
    """One topic as the broker has it."""

    topic: str
    direction: str
    partitions: int
    """0 when it does not exist."""
    begin: int
    """Sum of the first offsets."""
    end: int
    """Sum of the next offsets."""
    lag: dict[str, int]
    """Consumer group -> records it has not committed; of the groups that read the topic."""


def create_missing(bootstrap: str, prefix: str, partitions: int) -> list[str]:
    """Create what is not there; names of the new ones.

    Raises StackError when Kafka does not answer or a topic has another number of partitions than wanted.
    """
    try:
        return asyncio.run(_create_missing(bootstrap, all_topics(prefix), partitions, readers(prefix)))
    except (KafkaError, OSError, TimeoutError) as problem:
        raise _unreachable(bootstrap, problem) from problem


def _unreachable(bootstrap: str, problem: Exception) -> StackError:
    return StackError(
        f"topics on {bootstrap}: {problem}; is Kafka there? `strata doctor` tells, `strata up` starts one, STRATA_KAFKA_BOOTSTRAP names one"
    )


def create_when_reachable(bootstrap: str, prefix: str, partitions: int, patience_s: float = 60.0) -> list[str]:
    """The same, for a part that may be started before its broker: waits for it up to `patience_s`."""
    deadline = time.monotonic() + patience_s
    while probe.kafka_nodes(bootstrap) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return create_missing(bootstrap, prefix, partitions)


async def _create_missing(bootstrap: str, wanted: Sequence[Topic], partitions: int, groups: Iterable[str] = ()) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="strata-topics", request_timeout_ms=CREATE_MS)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [t for t in wanted if t.name not in present]
        if missing:
            # -1: the broker's own default number of replicas
            fresh = [NewTopic(t.name, partitions, -1, replica_assignments={}, topic_configs=t.configs) for t in missing]
            answer = await admin.create_topics(fresh, timeout_ms=CREATE_MS)
            for name, code, *why in answer.topic_errors:
                if code not in (0, ALREADY_EXISTS):
                    raise StackError(
                        f"topic {name} could not be created on {bootstrap}: Kafka's error {code} {why}; may this client create topics?"
                    )
        counts = await _settled_counts(admin, [t.name for t in wanted])
        await _served(bootstrap, admin, counts, groups)
    finally:
        await admin.close()
    differing = [f"{name} has {seen}" for name, seen in counts.items() if seen != partitions]
    if differing:
        raise StackError(
            f"topics must have {partitions} partitions each, but {', '.join(differing)}; "
            "set STRATA_PARTITIONS to what they have, use another STRATA_TOPIC_PREFIX, or delete these topics"
        )
    return [t.name for t in missing]


async def _settled_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Topic -> number of partitions; waits a moment for new ones to have their leaders."""
    counts: dict[str, int] = {}
    for _ in range(50):
        described = await admin.describe_topics(names)
        counts = {d["topic"]: len(d["partitions"]) for d in described if not d["error_code"]}
        led = all(p["leader"] >= 0 for d in described for p in d["partitions"])
        if led and len(counts) == len(names):
            break
        await asyncio.sleep(0.1)
    return {name: counts.get(name, 0) for name in names}


async def _served(bootstrap: str, admin: AIOKafkaAdminClient, counts: Mapping[str, int], groups: Iterable[str]) -> None:
    """Wait a moment until partitions and groups can be used: a broker names leaders before they lead, and makes its topic of offsets when first asked
    for a coordinator. Clients that come earlier try again by themselves, with an error in their logs for each try.
    """
    places = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, client_id="strata-topics")
    with contextlib.suppress(KafkaError, TimeoutError):  # not allowed to ask, or slow: whoever needs them tells
        async with asyncio.timeout(SERVED_S):
            try:
                await consumer.start()
                await consumer.end_offsets(places)
            finally:
                await consumer.stop()
            for group in groups:
                await _coordinated(admin, group)


async def _coordinated(admin: AIOKafkaAdminClient, group: str) -> None:
    """Wait until the group's coordinator is there and has read its offsets."""
    for _ in range(int(SERVED_S * 10)):
        with contextlib.suppress(*GROUPS_COME):
            (answer,) = await admin.describe_consumer_groups([group])
            if all(for_code(code) not in GROUPS_COME for code, *_ in answer.groups):
                return
        await asyncio.sleep(0.1)


def survey(bootstrap: str, prefix: str) -> list[TopicState]:
    """All topics of the contract as they are now. Raises StackError when Kafka does not answer."""
    try:
        return asyncio.run(_survey(bootstrap, prefix))
    except (KafkaError, OSError, TimeoutError) as problem:
        raise _unreachable(bootstrap, problem) from problem


async def _survey(bootstrap: str, prefix: str) -> list[TopicState]:
    wanted = all_topics(prefix)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, client_id="strata-survey")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="strata-survey")
    try:
        await asyncio.wait_for(consumer.start(), 10)
        await asyncio.wait_for(admin.start(), 10)
        described = {d["topic"]: d for d in await admin.describe_topics([t.name for t in wanted])}
        places = {
            t.name: [TopicPartition(t.name, p["partition"]) for p in described[t.name]["partitions"]]
            for t in wanted
            if t.name in described and not described[t.name]["error_code"]
        }
        every = [place for some in places.values() for place in some]
        begin = await consumer.beginning_offsets(every) if every else {}
        end = await consumer.end_offsets(every) if every else {}
        committed = {group: await _committed(admin, group) for group in readers(prefix)}
    finally:
        await admin.close()
        await consumer.stop()
    return [_state(t, places.get(t.name, []), begin, end, committed, readers(prefix)) for t in wanted]


def readers(prefix: str) -> dict[str, set[str]]:
    """Consumer group -> the topics it reads."""
    stored = {t.name for t in (*OUTPUTS, TRACES)} | {"labels"}
    return {app_id(prefix): {prefix + t.name for t in INPUTS}, prefix + SINK_GROUP: {prefix + name for name in stored}}


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, int]:
    try:
        answer = await admin.list_consumer_group_offsets(group)
    except KafkaError:
        return {}
    return {place: found.offset for place, found in answer.items() if found.offset >= 0}


def _state(
    topic: Topic,
    places: list[TopicPartition],
    begin: Mapping[TopicPartition, int],
    end: Mapping[TopicPartition, int],
    committed: Mapping[str, Mapping[TopicPartition, int]],
    reads: Mapping[str, set[str]],
) -> TopicState:
    """Sums over the partitions. A partition a group reads without a commit counts from its first offset."""
    lag = {
        group: sum(max(end[p] - offsets.get(p, begin[p]), 0) for p in places)
        for group, offsets in committed.items()
        if topic.name in reads[group]
    }
    return TopicState(topic.name, topic.direction, len(places), sum(begin[p] for p in places), sum(end[p] for p in places), lag)
