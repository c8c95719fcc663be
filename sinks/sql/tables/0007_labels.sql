-- Truths that arrived later, as the topic has them; kafka_* is the label record's own place.
-- To forget after a while: ALTER TABLE labels MODIFY TTL toDateTime(timestamp) + INTERVAL 90 DAY
CREATE TABLE IF NOT EXISTS labels
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
    task LowCardinality(String),
    label Nullable(String) CODEC(ZSTD(1)),
    value Nullable(Float64) CODEC(ZSTD(1)),
    prediction_id Nullable(String) CODEC(ZSTD(1)),
    position Nullable(Int64) CODEC(ZSTD(1)),
    span_end Nullable(Int64) CODEC(ZSTD(1)),
    event_timestamp Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    INDEX idx_prediction_id prediction_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (session_id, kafka_topic, kafka_offset, event_id)
SETTINGS non_replicated_deduplication_window = 100, ttl_only_drop_parts = 1;
