-- Boundaries, and how many records after their own they were decided.
-- Reads: boundaries, input_stream
INSERT INTO built_boundaries
SELECT
    toStartOfHour(b.timestamp) AS hour, {build:UInt64} AS build, b.model_version, b.modality, b.boundary_type, b.detected_by,
    count() AS boundaries,
    sum(b.confidence) AS confidence_sum,
    countIf(late > 0) AS corrections,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(toFloat64(late)) AS late_items
FROM
(
    SELECT b.*, if(i.kafka_topic = '', 0, greatest(0, i.token_position - b.position)) AS late
    FROM (SELECT * FROM boundaries WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}) AS b
    ANY LEFT JOIN (SELECT session_id, kafka_topic, kafka_partition, kafka_offset, token_position FROM input_stream WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}) AS i
        ON b.session_id = i.session_id AND b.kafka_topic = i.kafka_topic AND b.kafka_partition = i.kafka_partition AND b.kafka_offset = i.kafka_offset
) AS b
GROUP BY hour, b.model_version, b.modality, b.boundary_type, b.detected_by
