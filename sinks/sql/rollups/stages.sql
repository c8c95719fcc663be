-- What the worker measured of itself in milliseconds, by stage.
-- Reads: performance
INSERT INTO built_stages
SELECT
    toStartOfHour(timestamp) AS hour, {build:UInt64} AS build, model_version, modality, replaceRegexpOne(metric_name, '_ms$', '') AS stage,
    count() AS measured,
    countIf(metric_value > 50) AS over_50_ms,
    countIf(metric_value > 200) AS over_200_ms,
    max(metric_value) AS max_ms,
    quantilesTDigestState(0.5, 0.95, 0.99, 0.999)(metric_value) AS ms
FROM performance
WHERE unit = 'ms' AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
GROUP BY hour, model_version, modality, stage
