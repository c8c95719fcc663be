-- Answers, partial and final. `value` is NaN for tasks that have none (JSON formats print it as null); `label` and `confidence` are NULL then.
-- To forget after a while: ALTER TABLE predictions MODIFY TTL toDateTime(timestamp) + INTERVAL 90 DAY
CREATE TABLE IF NOT EXISTS predictions
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
    prediction_id String CODEC(ZSTD(1)),
    prediction_type LowCardinality(String),
    task LowCardinality(String),
    revision Int32 CODEC(ZSTD(1)),
    position Int64 CODEC(Delta, ZSTD(1)),
    span_start Int64 CODEC(Delta, ZSTD(1)),
    span_end Int64 CODEC(Delta, ZSTD(1)),
    label LowCardinality(Nullable(String)),
    confidence Nullable(Float64) CODEC(ZSTD(1)),
    value Float64 DEFAULT nan CODEC(ZSTD(1)),
    output String DEFAULT '{}' CODEC(ZSTD(3)),
    buffer_state String DEFAULT '{}' CODEC(ZSTD(1)),
    latency_ms Float64 CODEC(ZSTD(1)),
    metadata Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX idx_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_prediction_id prediction_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (session_id, kafka_topic, kafka_offset, event_id)
SETTINGS non_replicated_deduplication_window = 100, ttl_only_drop_parts = 1;
