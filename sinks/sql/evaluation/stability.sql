-- How often do answers change before they are final, and from when on do they stay?
-- Title: Stability
-- Place: Stability 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   at: hour or day; empty unless asked by one
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   spans: spans with partial answers before their final one
--   outputs: answers to them, partial and final
--   flips_per_span: mean changes of the label
--   flips_low: lower end of its 95 % interval (normal)
--   flips_high: upper end
--   flipped: share of spans whose label ever changed
--   flipped_high: upper end of its 95 % interval (Wilson)
--   normalised_erasure: words of labels taken back, per word of the final labels (0: only appended to)
--   stable_share: mean share of the span that was read when the final label was first said for good
--   stable_p50_s: half of the spans had it so many seconds after their first answer
--   stable_p95_s: 95 in 100
--   partials_as_final: share of partial answers that say what the final one says
--   partials_low: lower end of its 95 % interval (Wilson)
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT
    model_version, modality, task, level, if({by:String} IN ('hour', 'day'), moment, NULL) AS at, if({by:String} = 'age', tenth, NULL) AS age,
    n AS spans, outputs, flips / n AS flips_per_span,
    greatest(0, flips / n - 1.95996398 * sqrt(greatest(0, squared / n - pow(flips / n, 2)) / n)) AS flips_low, flips / n + 1.95996398 * sqrt(greatest(0, squared / n - pow(flips / n, 2)) / n) AS flips_high,
    flipped_n / n AS flipped, wilson_high(flipped_n, n) AS flipped_high,
    if(final_words = 0, NULL, erased_words / final_words) AS normalised_erasure,
    stable / n AS stable_share, seconds[1] AS stable_p50_s, seconds[3] AS stable_p95_s,
    if(partials = 0, NULL, same / partials) AS partials_as_final, wilson_low(same, partials) AS partials_low
FROM
(
    SELECT
        model_version, modality, task, level, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, if({by:String} = 'age', age, 0) AS tenth,
        sum(h.spans) AS n, sum(h.outputs) AS outputs, sum(h.flips) AS flips, sum(h.flips_squared) AS squared, sum(h.flipped_spans) AS flipped_n,
        sum(h.erased_words) AS erased_words, sum(h.final_words) AS final_words, sum(h.stable_share_sum) AS stable,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(h.stable_s) AS seconds, sum(arraySum(h.partials)) AS partials, sum(arraySum(h.partials_as_final)) AS same
    FROM hourly_stability AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level, moment, tenth
)
ORDER BY model_version, modality, task, level, at, age
