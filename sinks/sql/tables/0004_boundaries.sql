-- Where segments begin: position is the first item of the new segment.
-- To forget after a while: ALTER TABLE boundaries MODIFY TTL toDateTime(timestamp) + INTERVAL 90 DAY
CREATE TABLE IF NOT EXISTS boundaries
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
    boundary_type LowCardinality(String),
    position Int64 CODEC(Delta, ZSTD(1)),
    text_offset Int64 CODEC(Delta, ZSTD(1)),
    confidence Float64 CODEC(ZSTD(1)),
    detected_by LowCardinality(String),
    context_before String CODEC(ZSTD(3)),
    context_after String CODEC(ZSTD(3)),
    INDEX idx_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (session_id, kafka_topic, kafka_offset, event_id)
SETTINGS non_replicated_deduplication_window = 100, ttl_only_drop_parts = 1;
