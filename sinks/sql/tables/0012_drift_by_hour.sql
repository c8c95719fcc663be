-- What drifts: distributions of answers and inputs in fine bins, and moments of the representations. As in 0010: an hour whole under a new build.

-- Features of final answers: `confidence` (bin: 1/200), `surprise` (bin: 0.1 nats), `label` (category).
CREATE TABLE IF NOT EXISTS built_features
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    task LowCardinality(String),
    feature LowCardinality(String),
    bin Int32,
    category String CODEC(ZSTD(1)),
    n UInt64
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, feature, bin, category);

CREATE VIEW IF NOT EXISTS hourly_features AS
SELECT * FROM built_features WHERE (hour, build) IN (SELECT hour, max(build) FROM built_features GROUP BY hour);

-- Features of input records: `input_length` (bin: an eighth of a doubling of characters), `vocabulary` (category: one of 256 by the hash of the first model token).
CREATE TABLE IF NOT EXISTS built_inputs
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    feature LowCardinality(String),
    bin Int32,
    category String CODEC(ZSTD(1)),
    n UInt64
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, feature, bin, category);

CREATE VIEW IF NOT EXISTS hourly_inputs AS
SELECT * FROM built_inputs WHERE (hour, build) IN (SELECT hour, max(build) FROM built_inputs GROUP BY hour);

-- Sampled representations, scaled to length 1: their sum, and the sum of 64 random Fourier features of a Gaussian kernel (width 0.5), whose
-- means tell the maximum mean discrepancy of two windows (Rahimi and Recht 2007; Gretton et al. 2012).
CREATE TABLE IF NOT EXISTS built_states
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    build UInt64,
    model_version LowCardinality(String),
    modality LowCardinality(String),
    state_type LowCardinality(String),
    dimensions UInt32,
    states UInt64,
    vector_sum Array(Float64) CODEC(ZSTD(1)),
    fourier_sum Array(Float64) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, state_type, dimensions);

CREATE VIEW IF NOT EXISTS hourly_states AS
SELECT * FROM built_states WHERE (hour, build) IN (SELECT hour, max(build) FROM built_states GROUP BY hour);
