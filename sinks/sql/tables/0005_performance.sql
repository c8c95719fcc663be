-- Measurements of the worker.
-- To forget after a while: ALTER TABLE performance MODIFY TTL toDateTime(timestamp) + INTERVAL 90 DAY
CREATE TABLE IF NOT EXISTS performance
(
    event_id UUID,
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    session_id String CODEC(ZSTD(1)),
    modality LowCardinality(String),
    model_version LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String),
    kafka_partition Int32 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    metric_name LowCardinality(String),
    metric_value Float64 CODEC(ZSTD(1)),
    unit LowCardinality(String),
    context String DEFAULT '{}' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (session_id, kafka_topic, kafka_offset, event_id)
SETTINGS non_replicated_deduplication_window = 100, ttl_only_drop_parts = 1;
