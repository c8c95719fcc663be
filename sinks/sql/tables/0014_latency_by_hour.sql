-- Latency of answers without their age: a year has few digests then, and a digest is the costly part of a sum.
CREATE TABLE IF NOT EXISTS built_latency
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Hour of event time, UTC.',
    build UInt64 COMMENT 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    model_version LowCardinality(String) COMMENT 'Version of the model that was running.',
    modality LowCardinality(String) COMMENT 'tokens, logs, chat or metrics.',
    task LowCardinality(String) COMMENT 'Task of the answers.',
    answers UInt64 COMMENT 'How many.',
    over_50_ms UInt64 COMMENT 'Slower than 50 ms.',
    over_200_ms UInt64 COMMENT 'Slower than 200 ms.',
    latency_max_ms Float64 COMMENT 'The slowest, milliseconds.',
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99, 0.999), Float64) COMMENT 'Digest of latencies, milliseconds; quantilesTDigestMerge reads it.'
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task);

CREATE VIEW IF NOT EXISTS hourly_latency AS
SELECT * FROM built_latency WHERE (hour, build) IN (SELECT hour, max(build) FROM built_latency GROUP BY hour);

-- Fewer categories of the vocabulary, for the same reason; and all hours are due again.
ALTER TABLE built_inputs COMMENT COLUMN category 'One of 64 by the hash of the first model token; empty of a number.';

TRUNCATE TABLE IF EXISTS built_hours;
