-- Sampled representations of spans at every level of the hierarchy.
-- To forget after a while: ALTER TABLE model_state MODIFY TTL toDateTime(timestamp) + INTERVAL 90 DAY
CREATE TABLE IF NOT EXISTS model_state
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
    state_type LowCardinality(String),
    span_start Int64 CODEC(Delta, ZSTD(1)),
    span_end Int64 CODEC(Delta, ZSTD(1)),
    representation Array(Float32) CODEC(ZSTD(1)),
    attention_weights Array(Float32) CODEC(ZSTD(1)),
    cache_size_mb Float32 CODEC(ZSTD(1)),
    metadata Map(LowCardinality(String), String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (session_id, kafka_topic, kafka_offset, event_id)
SETTINGS non_replicated_deduplication_window = 100, ttl_only_drop_parts = 1;
