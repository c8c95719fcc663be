-- How often will answers be right, as far as one can tell before labels come, and how far off was that once they came?
-- Title: Expected accuracy
-- Place: Without labels 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   at: hour or day; empty unless asked by one
--   sure: final answers with a confidence
--   expected: accuracy to be expected from their calibrated confidence (CBPE)
--   expected_low: lower end of its 95 % interval (normal, at least as wide as it must be)
--   expected_high: upper end
--   labelled: those whose label has come
--   realised: share of these that is right
--   realised_low: lower end of its 95 % interval (Wilson)
--   realised_high: upper end
--   expected_of_labelled: what was expected of just these
--   off: expected_of_labelled minus realised
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT
    model_version, modality, task, level, if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    n AS sure, told / n AS expected,
    greatest(0, expected - 1.95996398 * sqrt(expected * (1 - expected) / n)) AS expected_low, least(1, expected + 1.95996398 * sqrt(expected * (1 - expected) / n)) AS expected_high,
    judged AS labelled, if(judged = 0, NULL, right / judged) AS realised, wilson_low(right, judged) AS realised_low, wilson_high(right, judged) AS realised_high,
    if(judged = 0, NULL, told_judged / judged) AS expected_of_labelled, expected_of_labelled - realised AS off
FROM
(
    SELECT model_version, modality, task, level, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, sum(h.sure) AS n, sum(h.confidence_sum) AS told
    FROM hourly_answers AS h
    WHERE prediction_type = 'final' AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level, moment
    HAVING n > 0
) AS given
LEFT JOIN
(
    SELECT model_version, modality, task, level, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, sum(h.sure) AS judged, sum(h.sure_correct) AS right, sum(h.confidence_sum) AS told_judged
    FROM hourly_quality AS h
    WHERE prediction_type = 'final' AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY model_version, modality, task, level, moment
) AS scored USING (model_version, modality, task, level, moment)
ORDER BY model_version, modality, task, level, at
