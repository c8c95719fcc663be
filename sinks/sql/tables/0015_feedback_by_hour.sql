-- Thumbs of people about answers, in the hour of the answer they speak of. As in 0010: an hour whole under a new build.
CREATE TABLE IF NOT EXISTS built_feedback
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Hour of event time, UTC.',
    build UInt64 COMMENT 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    model_version LowCardinality(String) COMMENT 'Version of the model that gave the answer.',
    modality LowCardinality(String) COMMENT 'tokens, logs, chat or metrics.',
    task LowCardinality(String) COMMENT 'Task of the answers.',
    level LowCardinality(String) COMMENT 'document or session for answers about whole sessions, else empty.',
    up UInt64 COMMENT 'Answers whose last thumb is up.',
    down UInt64 COMMENT 'Answers whose last thumb is down.',
    corrected UInt64 COMMENT 'Of these, those for which another label was given.'
)
ENGINE = ReplacingMergeTree(build)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, model_version, modality, task, level);

CREATE VIEW IF NOT EXISTS hourly_feedback AS
SELECT * FROM built_feedback WHERE (hour, build) IN (SELECT hour, max(build) FROM built_feedback GROUP BY hour);

-- Labels that came before this table did are counted: the hours that hold any are due again.
DELETE FROM built_hours WHERE source = 'labels';
