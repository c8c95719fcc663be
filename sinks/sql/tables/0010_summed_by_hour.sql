-- What is asked over months, summed up by the hour of event time. sinks/rollups.py computes an hour anew whenever its rows changed
-- (built_hours against the projections rows_by_hour) and inserts it whole, under a new `build`; the views hourly_* show the newest build of
-- each hour. So nothing is ever added to a sum twice, late rows count, and a crash in between leaves the older build to be seen.
-- Common columns: hour; build (microseconds since the epoch); model_version, modality, task; level (document, session or empty: the
-- answer is about the whole session); age (tenth of its session in which the answer's position lies, 0 to 9; of a session that goes on, of what it has so far).

CREATE TABLE IF NOT EXISTS built_hours
(
    source LowCardinality(String),
    hour DateTime('UTC'),
    rows UInt64,
    build UInt64
)
ENGINE = ReplacingMergeTree(build)
ORDER BY (source, hour);

-- Answers: how many, how sure, how fast.
CREATE TABLE IF NOT EXISTS built_answers
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    prediction_type LowCardinality(String),
    age UInt8,
    answers UInt64,
    sure UInt64,
    confidence_sum Float64,
    over_50_ms UInt64,
    over_200_ms UInt64,
    latency_max_ms Float64,
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99, 0.999), Float64),
    sessions AggregateFunction(uniqCombined(12), String)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level, prediction_type, age);

CREATE VIEW IF NOT EXISTS hourly_answers AS
SELECT * FROM built_answers WHERE (hour, build) IN (SELECT hour, max(build) FROM built_answers GROUP BY hour);

-- What the worker measured of itself, by stage of its work.
CREATE TABLE IF NOT EXISTS built_stages
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    stage LowCardinality(String),
    measured UInt64,
    over_50_ms UInt64,
    over_200_ms UInt64,
    max_ms Float64,
    ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99, 0.999), Float64)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, stage);

CREATE VIEW IF NOT EXISTS hourly_stages AS
SELECT * FROM built_stages WHERE (hour, build) IN (SELECT hour, max(build) FROM built_stages GROUP BY hour);

-- Failures; one failure may be tried at several times, each with a row in `failures`.
CREATE TABLE IF NOT EXISTS built_failures
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    failure_type LowCardinality(String),
    failures UInt64,
    attempts UInt64,
    recovered UInt64,
    dead_letters UInt64,
    recover_s_sum Float64,
    recover_s_n UInt64,
    sessions AggregateFunction(uniqCombined(12), String)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, failure_type);

CREATE VIEW IF NOT EXISTS hourly_failures AS
SELECT * FROM built_failures WHERE (hour, build) IN (SELECT hour, max(build) FROM built_failures GROUP BY hour);

-- Labelled answers, one row each: the answer, its truth, and how the truth came. A label that came later wins over one before.
CREATE TABLE IF NOT EXISTS built_outcomes
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    event_id UUID,
    prediction_id String CODEC(ZSTD(1)),
    session_id String CODEC(ZSTD(1)),
    position Int64 CODEC(Delta, ZSTD(1)),
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    prediction_type LowCardinality(String),
    revision Int32,
    age UInt8,
    label Nullable(String) CODEC(ZSTD(1)),
    truth Nullable(String) CODEC(ZSTD(1)),
    confidence Nullable(Float64),
    value Float64,
    true_value Nullable(Float64),
    delay_s Float64,
    times UInt32,
    changed Bool
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, event_id);

CREATE VIEW IF NOT EXISTS outcomes AS
SELECT * FROM built_outcomes WHERE (hour, build) IN (SELECT hour, max(build) FROM built_outcomes GROUP BY hour);

-- Labelled answers, summed up: right ones, errors of values, proper scores of the confidence that the label is right.
CREATE TABLE IF NOT EXISTS built_quality
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    prediction_type LowCardinality(String),
    age UInt8,
    labelled UInt64,
    judged UInt64,
    correct UInt64,
    sure UInt64,
    sure_correct UInt64,
    confidence_sum Float64,
    brier_sum Float64,
    nll_sum Float64,
    valued UInt64,
    error_sum Float64,
    absolute_error_sum Float64,
    squared_error_sum Float64,
    labelled_twice UInt64,
    label_changed UInt64,
    delay_s AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level, prediction_type, age);

CREATE VIEW IF NOT EXISTS hourly_quality AS
SELECT * FROM built_quality WHERE (hour, build) IN (SELECT hour, max(build) FROM built_quality GROUP BY hour);

-- What was said against what was true, final answers.
CREATE TABLE IF NOT EXISTS built_confusion
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    truth String CODEC(ZSTD(1)),
    label String CODEC(ZSTD(1)),
    answers UInt64
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level, truth, label);

CREATE VIEW IF NOT EXISTS hourly_confusion AS
SELECT * FROM built_confusion WHERE (hour, build) IN (SELECT hour, max(build) FROM built_confusion GROUP BY hour);

-- Confidence in 200 bins of equal width, of labelled answers: bins of any width or mass are put together from these.
CREATE TABLE IF NOT EXISTS built_reliability
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    prediction_type LowCardinality(String),
    age UInt8,
    bin UInt8,
    answers UInt64,
    correct UInt64,
    confidence_sum Float64
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level, prediction_type, age, bin);

CREATE VIEW IF NOT EXISTS hourly_reliability AS
SELECT * FROM built_reliability WHERE (hour, build) IN (SELECT hour, max(build) FROM built_reliability GROUP BY hour);
