-- How late are boundaries decided, and how many correct the segments shown until then?
-- Title: Corrections of boundaries
-- Place: Stability 3
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   boundary_type: sentence, paragraph or topic
--   detected_by: rule or model
--   at: hour or day; empty unless asked by one
--   boundaries: how many
--   confidence: their mean confidence
--   corrections: those decided after a record behind the boundary's own had been read
--   corrected: share of the boundaries decided so late
--   corrected_low: lower end of its 95 % interval (Wilson)
--   corrected_high: upper end
--   late_p50_items: half were decided so many records after their own
--   late_p95_items: 95 in 100
--   late_p99_items: 99 in 100
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT * EXCEPT q
FROM
(
    SELECT
        model_version, modality, boundary_type, detected_by, if({by:String} IN ('hour', 'day'), if({by:String} = 'hour', hour, toDateTime(toStartOfDay(hour), 'UTC')), NULL) AS at,
        sum(h.boundaries) AS boundaries, sum(confidence_sum) / boundaries AS confidence, sum(h.corrections) AS corrections,
        corrections / boundaries AS corrected, wilson_low(corrections, boundaries) AS corrected_low, wilson_high(corrections, boundaries) AS corrected_high,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(late_items) AS q, q[1] AS late_p50_items, q[3] AS late_p95_items, q[4] AS late_p99_items
    FROM hourly_boundaries AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
    GROUP BY model_version, modality, boundary_type, detected_by, at
)
ORDER BY model_version, modality, boundary_type, detected_by, at
