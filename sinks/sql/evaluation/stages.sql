-- How long does each stage of the worker's own work take?
-- Title: Latency by stage
-- Place: Latency 2
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   stage: latency is the whole way, from Kafka's time of a record to the publishing of its answers; decode, wait, encode, update and step are parts of it
--   at: hour or day; empty unless asked by one
--   measured: how many measurements
--   p50_ms: half of them took no longer
--   p95_ms: 95 in 100
--   p99_ms: 99 in 100
--   p999_ms: 999 in 1,000
--   max_ms: the slowest
--   over_50: share over 50 ms
--   over_200: share over 200 ms
--   over_200_high: upper end of its 95 % interval (Wilson)
WITH (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT * EXCEPT q
FROM
(
    SELECT
        model_version, modality, stage,
        if({by:String} IN ('hour', 'day'), if({by:String} = 'hour', hour, toDateTime(toStartOfDay(hour), 'UTC')), NULL) AS at,
        sum(h.measured) AS measured,
        quantilesTDigestMerge(0.5, 0.95, 0.99, 0.999)(ms) AS q,
        q[1] AS p50_ms, q[2] AS p95_ms, q[3] AS p99_ms, q[4] AS p999_ms,
        max(h.max_ms) AS max_ms,
        sum(over_50_ms) / measured AS over_50, sum(over_200_ms) / measured AS over_200, wilson_high(sum(over_200_ms), measured) AS over_200_high
    FROM hourly_stages AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
    GROUP BY model_version, modality, stage, at
)
ORDER BY model_version, modality, p99_ms DESC, stage, at
