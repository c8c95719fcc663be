-- What a question over a year reads too much of by the hour, by the day: merged from the hours, which stay the truth. As in 0010, a day whole under a
-- new build, whenever one of its hours is computed. A question takes the days that lie whole within its time, and the hours at the ends.

-- Latency of answers by the tenth of their session.
CREATE TABLE IF NOT EXISTS built_daily_ages
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First hour of the day, UTC.',
    build UInt64 COMMENT 'When it was computed, microseconds since the epoch; the newest of a day counts.',
    model_version LowCardinality(String) COMMENT 'Version of the model that was running.',
    modality LowCardinality(String) COMMENT 'tokens, logs, chat or metrics.',
    task LowCardinality(String) COMMENT 'Task of the answers.',
    age UInt8 COMMENT 'Tenth of its session in which the answer lies, 0 to 9.',
    answers UInt64 COMMENT 'How many.',
    over_50_ms UInt64 COMMENT 'Slower than 50 ms.',
    over_200_ms UInt64 COMMENT 'Slower than 200 ms.',
    latency_max_ms Float64 COMMENT 'The slowest, milliseconds.',
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99, 0.999), Float64) COMMENT 'Digest of latencies, milliseconds; quantilesTDigestMerge reads it.'
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, age);

CREATE VIEW IF NOT EXISTS daily_ages AS
SELECT * FROM built_daily_ages WHERE (hour, build) IN (SELECT hour, max(build) FROM built_daily_ages GROUP BY hour);

-- Features of final answers, in the fine bins of built_features.
CREATE TABLE IF NOT EXISTS built_daily_features
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First hour of the day, UTC.',
    build UInt64 COMMENT 'When it was computed, microseconds since the epoch; the newest of a day counts.',
    model_version LowCardinality(String) COMMENT 'Version of the model that was running.',
    modality LowCardinality(String) COMMENT 'tokens, logs, chat or metrics.',
    task LowCardinality(String) COMMENT 'Task of the answers.',
    feature LowCardinality(String) COMMENT 'confidence, surprise or label.',
    bin Int32 COMMENT 'Of a number.',
    category String CODEC(ZSTD(1)) COMMENT 'Of a label.',
    n UInt64 COMMENT 'How many.'
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, feature, bin, category);

CREATE VIEW IF NOT EXISTS daily_features AS
SELECT * FROM built_daily_features WHERE (hour, build) IN (SELECT hour, max(build) FROM built_daily_features GROUP BY hour);

-- Features of input records, in the fine bins of built_inputs.
CREATE TABLE IF NOT EXISTS built_daily_inputs
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First hour of the day, UTC.',
    build UInt64 COMMENT 'When it was computed, microseconds since the epoch; the newest of a day counts.',
    model_version LowCardinality(String) COMMENT 'Version of the model that was running.',
    modality LowCardinality(String) COMMENT 'tokens, logs, chat or metrics.',
    feature LowCardinality(String) COMMENT 'input_length or vocabulary.',
    bin Int32 COMMENT 'Of a number.',
    category String CODEC(ZSTD(1)) COMMENT 'Of a token.',
    n UInt64 COMMENT 'How many.'
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, feature, bin, category);

CREATE VIEW IF NOT EXISTS daily_inputs AS
SELECT * FROM built_daily_inputs WHERE (hour, build) IN (SELECT hour, max(build) FROM built_daily_inputs GROUP BY hour);

-- The days of the hours that are there already.
INSERT INTO built_daily_ages
SELECT toStartOfDay(h.hour) AS hour, toUnixTimestamp64Micro(now64(6)) AS build, model_version, modality, task, age,
    sum(h.answers), sum(h.over_50_ms), sum(h.over_200_ms), max(h.latency_max_ms), quantilesTDigestMergeState(0.5, 0.95, 0.99, 0.999)(h.latency_ms)
FROM hourly_answers AS h GROUP BY toStartOfDay(h.hour), model_version, modality, task, age
SETTINGS min_insert_block_size_rows = 1000000000, min_insert_block_size_bytes = 0, max_partitions_per_insert_block = 0, prefer_column_name_to_alias = 1;

INSERT INTO built_daily_features
SELECT toStartOfDay(h.hour) AS hour, toUnixTimestamp64Micro(now64(6)) AS build, model_version, modality, task, feature, bin, category, sum(h.n)
FROM hourly_features AS h GROUP BY toStartOfDay(h.hour), model_version, modality, task, feature, bin, category
SETTINGS min_insert_block_size_rows = 1000000000, min_insert_block_size_bytes = 0, max_partitions_per_insert_block = 0, prefer_column_name_to_alias = 1;

INSERT INTO built_daily_inputs
SELECT toStartOfDay(h.hour) AS hour, toUnixTimestamp64Micro(now64(6)) AS build, model_version, modality, feature, bin, category, sum(h.n)
FROM hourly_inputs AS h GROUP BY toStartOfDay(h.hour), model_version, modality, feature, bin, category
SETTINGS min_insert_block_size_rows = 1000000000, min_insert_block_size_bytes = 0, max_partitions_per_insert_block = 0, prefer_column_name_to_alias = 1;
