-- Labelled answers with their truth: the label that came last, of those that name the answer, its item, its time or its whole session.
-- Reads: predictions, labels
-- A label with a span speaks of each item in it; an answer is judged by the item it is about, which is the last one it had read.
INSERT INTO built_outcomes
SELECT
    toStartOfHour(a.timestamp) AS hour, {build:UInt64} AS build, a.event_id, a.prediction_id, a.session_id, a.position,
    a.model_version, a.modality, a.task, a.level, a.prediction_type, a.revision,
    least(9, intDiv(10 * greatest(a.position, 0), greatest(lengths.items, 1))) AS age,
    a.label, truths.last.1 AS truth, a.confidence, a.value, truths.last.2 AS true_value,
    dateDiff('microsecond', a.timestamp, truths.last.3) / 1e6 AS delay_s,
    truths.times, truths.changed
FROM
(
    SELECT
        event_id, prediction_id, session_id, position, timestamp, model_version, modality, task, level, prediction_type, revision,
        label::Nullable(String) AS label, confidence, value,
        arrayJoin(arrayConcat(['id ' || prediction_id], if(level = '',
            ['item ' || toString(position), 'time ' || toString(toUnixTimestamp64Micro(timestamp))],
            ['span ' || toString(span_start) || ' ' || toString(span_end), 'whole']))) AS target
    FROM predictions
    WHERE session_id IN (SELECT session_id FROM labels WHERE session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}))
        AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
) AS a
INNER JOIN
(
    SELECT
        session_id, task, target,
        argMax((label, value, timestamp), (timestamp, kafka_partition, kafka_offset)) AS last,
        count() AS times,
        uniqExact((label, value)) > 1 AS changed
    FROM
    (
        SELECT
            session_id, task, label, value, timestamp, kafka_partition, kafka_offset,
            arrayJoin(multiIf(
                prediction_id IS NOT NULL, ['id ' || assumeNotNull(prediction_id)],
                position IS NOT NULL, arrayConcat(
                    arrayMap(item -> 'item ' || toString(item), range(assumeNotNull(position), least(ifNull(span_end, assumeNotNull(position) + 1), assumeNotNull(position) + 100000))),
                    if(span_end IS NULL, [], ['span ' || toString(assumeNotNull(position)) || ' ' || toString(assumeNotNull(span_end))])),
                event_timestamp IS NOT NULL, ['time ' || toString(toUnixTimestamp64Micro(assumeNotNull(event_timestamp)))],
                ['whole'])) AS target
        FROM labels
        WHERE session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
    )
    GROUP BY session_id, task, target
) AS truths ON a.session_id = truths.session_id AND a.task = truths.task AND a.target = truths.target
ANY LEFT JOIN
(
    SELECT session_id, modality, max(span_end) AS items FROM predictions WHERE session_id IN (SELECT session_id FROM labels WHERE session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})) GROUP BY session_id, modality
) AS lengths ON a.session_id = lengths.session_id AND a.modality = lengths.modality
ORDER BY truths.last.3 DESC
LIMIT 1 BY a.event_id
