-- How answers and boundaries changed while their text was read. As in 0010: computed by sinks/rollups.py, an hour whole under a new build.

-- Spans with partial answers, in the hour of their final one. Arrays have ten elements: tenths of the span read.
CREATE TABLE IF NOT EXISTS built_stability
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    level LowCardinality(String),
    age UInt8,
    spans UInt64,
    outputs UInt64,
    flips UInt64,
    flips_squared UInt64,
    flipped_spans UInt64,
    erased_words UInt64,
    final_words UInt64,
    stable_share_sum Float64,
    stable_s AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64),
    partials Array(UInt64),
    partials_as_final Array(UInt64)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level, age);

CREATE VIEW IF NOT EXISTS hourly_stability AS
SELECT * FROM built_stability WHERE (hour, build) IN (SELECT hour, max(build) FROM built_stability GROUP BY hour);

-- Boundaries, and how many records after their own they were decided: a late one corrects the segments shown until then.
CREATE TABLE IF NOT EXISTS built_boundaries
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    boundary_type LowCardinality(String),
    detected_by LowCardinality(String),
    boundaries UInt64,
    confidence_sum Float64,
    corrections UInt64,
    late_items AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, boundary_type, detected_by);

CREATE VIEW IF NOT EXISTS hourly_boundaries AS
SELECT * FROM built_boundaries WHERE (hour, build) IN (SELECT hour, max(build) FROM built_boundaries GROUP BY hour);

-- Sessions with labelled segments, in the hour of their first record: found boundaries against true ones. `window_items` is half a mean true segment.
CREATE TABLE IF NOT EXISTS built_segmentations
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    session_id String CODEC(ZSTD(1)),
    model_version LowCardinality(String),
    modality LowCardinality(String),
    boundary_type LowCardinality(String),
    items UInt64,
    window_items UInt64,
    pk Float64,
    window_diff Float64,
    hits UInt64,
    found UInt64,
    true_boundaries UInt64
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, boundary_type, session_id);

CREATE VIEW IF NOT EXISTS segmentations AS
SELECT * FROM built_segmentations WHERE (hour, build) IN (SELECT hour, max(build) FROM built_segmentations GROUP BY hour);
