-- Answers: how many, how sure, how fast, by the tenth of their session.
-- Reads: predictions
INSERT INTO built_answers
SELECT
    toStartOfHour(timestamp) AS hour, {build:UInt64} AS build, model_version, modality, task, level, prediction_type,
    least(9, intDiv(10 * greatest(position, 0), greatest(items, 1))) AS age,
    count() AS answers,
    count(confidence) AS sure,
    sum(ifNull(confidence, 0)) AS confidence_sum,
    countIf(latency_ms > 50) AS over_50_ms,
    countIf(latency_ms > 200) AS over_200_ms,
    max(latency_ms) AS latency_max_ms,
    quantilesTDigestState(0.5, 0.95, 0.99, 0.999)(latency_ms) AS latency_ms,
    uniqCombinedState(12)(session_id) AS sessions
FROM predictions
ANY LEFT JOIN
(
    SELECT session_id, modality, max(span_end) AS items
    FROM predictions
    WHERE session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
    GROUP BY session_id, modality
) AS lengths USING (session_id, modality)
WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
GROUP BY hour, model_version, modality, task, level, prediction_type, age
