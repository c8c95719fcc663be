-- Latency of answers, of all ages together.
-- Reads: predictions
INSERT INTO built_latency
SELECT
    toStartOfHour(timestamp) AS hour, {build:UInt64} AS build, model_version, modality, task,
    count() AS answers,
    countIf(latency_ms > 50) AS over_50_ms,
    countIf(latency_ms > 200) AS over_200_ms,
    max(latency_ms) AS latency_max_ms,
    quantilesTDigestState(0.5, 0.95, 0.99, 0.999)(latency_ms) AS latency_ms
FROM predictions
WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
GROUP BY hour, model_version, modality, task
