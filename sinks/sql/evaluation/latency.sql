-- How fast are answers, from Kafka's time of the record that decided them to their publishing, and how many are over budget?
-- Title: Latency of answers
-- Place: Latency 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   at: hour or day; empty unless asked by one
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   answers: how many
--   p50_ms: half of them took no longer
--   p95_ms: 95 in 100
--   p99_ms: 99 in 100
--   p999_ms: 999 in 1,000
--   max_ms: the slowest
--   over_50: share over 50 ms
--   over_50_high: upper end of its 95 % interval (Wilson)
--   over_200: share over 200 ms
--   burn_rate: share over 200 ms against the one in a hundred that is allowed: above 1 the allowance is used up before its time
WITH (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT * EXCEPT q
FROM
(
    SELECT
        model_version, modality, task,
        if({by:String} IN ('hour', 'day'), if({by:String} = 'hour', hour, toDateTime(toStartOfDay(hour), 'UTC')), NULL) AS at,
        if({by:String} = 'age', h.age, NULL) AS age,
        sum(h.answers) AS answers,
        quantilesTDigestMerge(0.5, 0.95, 0.99, 0.999)(latency_ms) AS q,
        q[1] AS p50_ms, q[2] AS p95_ms, q[3] AS p99_ms, q[4] AS p999_ms,
        max(latency_max_ms) AS max_ms,
        sum(over_50_ms) / answers AS over_50,
        wilson_high(sum(over_50_ms), answers) AS over_50_high,
        sum(over_200_ms) / answers AS over_200,
        over_200 / 0.01 AS burn_rate
    FROM
    (
        SELECT hour, model_version, modality, task, 0 AS age, answers, over_50_ms, over_200_ms, latency_max_ms, latency_ms FROM hourly_latency WHERE {by:String} != 'age'
        UNION ALL
        SELECT hour, model_version, modality, task, age, answers, over_50_ms, over_200_ms, latency_max_ms, latency_ms FROM daily_ages WHERE {by:String} = 'age' AND (toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')})
        UNION ALL
        SELECT hour, model_version, modality, task, age, answers, over_50_ms, over_200_ms, latency_max_ms, latency_ms FROM hourly_answers WHERE {by:String} = 'age' AND NOT (toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')})
    ) AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, at, age
)
ORDER BY model_version, modality, task, at, age
