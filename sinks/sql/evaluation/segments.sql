-- Do segments begin where they truly do?
-- Title: Boundaries against labels
-- Place: Quality 5
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   boundary_type: sentence, paragraph or topic
--   at: hour or day; empty unless asked by one
--   sessions: labelled sessions
--   pk: mean over sessions of the share of windows that disagree whether a boundary lies in them (Beeferman et al. 1999); 0 is perfect
--   pk_low: lower end of its 95 % interval (200 bootstrap samples of the sessions in 256 parts, 40 by day; empty by hour)
--   pk_high: upper end
--   window_diff: the same, of windows that disagree how many lie in them (Pevzner and Hearst 2002)
--   window_diff_low: lower end of its 95 % interval
--   window_diff_high: upper end
--   found: boundaries found
--   true_boundaries: boundaries labelled
--   hits: found at the very item
--   precision: share of the found that are true
--   recall: share of the true that are found
--   f1: harmonic mean of precision and recall
--   f1_low: lower end of its 95 % interval (Wilson, of hits in all found or true)
--   f1_high: upper end
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high,
    (part, sample) -> arrayFirstIndex(p -> sipHash64(part, sample) / 18446744073709551616 < p, [0.36787944, 0.73575888, 0.91969860, 0.98101184, 0.99634015, 0.99940582, 0.99991676, 1.]) - 1 AS poisson
SELECT
    model_version, modality, boundary_type, if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    n AS sessions, pk_sum / n AS pk, quantiles(0.025, 0.975)(pk_sample)[1] AS pk_low, quantiles(0.025, 0.975)(pk_sample)[2] AS pk_high,
    window_diff_sum / n AS window_diff, quantiles(0.025, 0.975)(window_diff_sample)[1] AS window_diff_low, quantiles(0.025, 0.975)(window_diff_sample)[2] AS window_diff_high,
    found, true_boundaries, hits,
    if(found = 0, NULL, hits / found) AS precision, if(true_boundaries = 0, NULL, hits / true_boundaries) AS recall,
    if(found + true_boundaries = 0, NULL, 2 * hits / (found + true_boundaries)) AS f1,
    2 * wilson_low(hits, found + true_boundaries - hits) / (1 + wilson_low(hits, found + true_boundaries - hits)) AS f1_low,
    2 * wilson_high(hits, found + true_boundaries - hits) / (1 + wilson_high(hits, found + true_boundaries - hits)) AS f1_high
FROM
(
    SELECT
        model_version, modality, boundary_type, moment,
        sum(part_n) AS n, sum(part_pk) AS pk_sum, sum(part_diff) AS window_diff_sum,
        sum(part_found) AS found, sum(part_true) AS true_boundaries, sum(part_hits) AS hits,
        sumForEach(arrayMap(sample -> toFloat64(poisson(part, sample) * part_n), range(multiIf({by:String} = 'hour', 0, {by:String} = 'day', 40, 200)))) AS drawn,
        sumForEach(arrayMap(sample -> poisson(part, sample) * part_pk, range(multiIf({by:String} = 'hour', 0, {by:String} = 'day', 40, 200)))) AS pk_drawn,
        sumForEach(arrayMap(sample -> poisson(part, sample) * part_diff, range(multiIf({by:String} = 'hour', 0, {by:String} = 'day', 40, 200)))) AS window_diff_drawn
    FROM
    (
        SELECT
            model_version, modality, boundary_type, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, sipHash64(session_id) % 256 AS part,
            count() AS part_n, sum(pk) AS part_pk, sum(window_diff) AS part_diff, sum(h.found) AS part_found, sum(h.true_boundaries) AS part_true, sum(h.hits) AS part_hits
        FROM segmentations AS h
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND ({model_version:String} = '' OR model_version = {model_version:String})
            AND ({modality:String} = '' OR modality = {modality:String})
        GROUP BY model_version, modality, boundary_type, moment, part
    )
    GROUP BY model_version, modality, boundary_type, moment
)
LEFT ARRAY JOIN arrayMap((s, d) -> if(d = 0, NULL, s / d), pk_drawn, drawn) AS pk_sample, arrayMap((s, d) -> if(d = 0, NULL, s / d), window_diff_drawn, drawn) AS window_diff_sample
GROUP BY model_version, modality, boundary_type, moment, n, pk_sum, window_diff_sum, found, true_boundaries, hits
ORDER BY model_version, modality, boundary_type, at
