-- Which alarm of drift would have told of a loss of accuracy, how soon, and how often for nothing?
-- Title: Alarms of drift
-- Place: Drift 3
-- Default: by = day
-- Columns:
--   modality: tokens, logs, chat or metrics
--   task: task of the answers; empty for inputs
--   feature: confidence, label, surprise, input_length or vocabulary
--   detector: psi, js or ks; beside them one that never fires and one that always does
--   windows: hours or days compared with the reference
--   alarms: windows in which it fires
--   first_alarm: the first of them
--   onset: first window whose accuracy is below the reference's beyond doubt (their 95 % intervals do not meet), or as given
--   judged_windows: windows with labels to tell
--   delay_h: hours from the onset to the first alarm at or after it; empty without
--   false_alarms_a_day: alarms before the onset (all of them, without one) a day; empty where nothing tells
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high,
    (SELECT if({split:DateTime('UTC')} > toDateTime(0, 'UTC'), {split:DateTime('UTC')}, toStartOfHour(toDateTime(intDiv(toUInt64(toUnixTimestamp(first)) + toUInt64(toUnixTimestamp(last)) + 3600, 2), 'UTC')))
        FROM (SELECT min(hour) AS first, max(hour) AS last FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})) AS cut,
    (SELECT if({by:String} = 'hour' OR ({by:String} != 'day' AND hours < 14 * 86400), 3600, 86400) FROM (SELECT max(hour) - min(hour) AS hours FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})) AS step,
    scores AS
    (
        SELECT modality, task, toDateTime(intDiv(toUInt64(toUnixTimestamp(hour)), step) * step, 'UTC') AS window, sum(judged) AS n, sum(correct) AS k, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new
        FROM hourly_quality WHERE prediction_type = 'final' AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} GROUP BY modality, task, window, is_old, is_new
    ),
    turns AS
    (
        SELECT modality, task, if({onset:DateTime('UTC')} > toDateTime(0, 'UTC'), {onset:DateTime('UTC')}, minIf(window, is_new AND n > 0 AND wilson_high(k, n) < low)) AS onset, uniqIf(window, is_new AND n > 0) AS told
        FROM scores INNER JOIN (SELECT modality, task, wilson_low(sumIf(k, is_old), sumIf(n, is_old)) AS low FROM scores GROUP BY modality, task) AS before USING (modality, task)
        GROUP BY modality, task
    ),
    bins AS
    (
        SELECT modality, task, feature, toDateTime(intDiv(toUInt64(toUnixTimestamp(hour)), step) * step, 'UTC') AS window, bin, category, sumIf(n, is_old) AS r, sumIf(n, is_new) AS c
        FROM (SELECT *, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new FROM (SELECT hour, model_version, modality, task, feature, bin, category, n FROM hourly_features WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String}) AND ({task:String} = '' OR task = {task:String})
                UNION ALL
                SELECT hour, model_version, modality, '' AS task, feature, bin, category, n FROM hourly_inputs WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String})))
        GROUP BY modality, task, feature, window, bin, category
    )
SELECT
    modality, task, feature, detector, count() AS windows, countIf(fires) AS alarms,
    if(alarms = 0, NULL, minIf(window, fires)) AS first_alarm,
    if(turn > toDateTime(0, 'UTC'), turn, NULL) AS onset, labelled AS judged_windows,
    if(turn = toDateTime(0, 'UTC') OR countIf(fires AND window + step > turn) = 0, NULL, greatest(0, dateDiff('second', turn, minIf(window, fires AND window + step > turn))) / 3600) AS delay_h,
    if(labelled = 0 AND turn = toDateTime(0, 'UTC'), NULL, countIf(fires AND (turn = toDateTime(0, 'UTC') OR window + step <= turn)) / (countIf(turn = toDateTime(0, 'UTC') OR window + step <= turn) * step / 86400)) AS false_alarms_a_day
FROM
(
    SELECT
        measured.modality AS modality, measured.task AS task, feature, window, if(task = '', inputs_turn.onset, turns.onset) AS turn, if(task = '', inputs_turn.told, turns.told) AS labelled,
        arrayJoin(arrayConcat(
            [('psi', psi > 0.25 AND psi > (groups - 1 + 1.645 * sqrt(2 * (groups - 1))) * noise), ('js', js > 0.05 AND js > (kinds - 1 + 1.645 * sqrt(2 * (kinds - 1))) * noise / 5.545)],
            if(numeric, [('ks', ks > 0.1 AND ks > 1.3581 * sqrt(noise))], []), [('never', false), ('always', true)])) AS verdict, verdict.1 AS detector, verdict.2 AS fires
    FROM
    (
        SELECT
            modality, task, feature, window, any(numeric) AS numeric, count() AS groups, sum(bins_in) AS kinds, 1 / any(r_total) + 1 / any(c_total) AS noise,
            sum((c_share - r_share) * log(c_share / r_share)) AS psi, sum(js_part) AS js, max(far) AS ks
        FROM
        (
            SELECT
                modality, task, feature, window, group, any(is_numeric) AS numeric, any(r_all) AS r_total, any(c_all) AS c_total, count() AS bins_in,
                greatest(sum(r) / r_total, 0.0001) AS r_share, greatest(sum(c) / c_total, 0.0001) AS c_share,
                sum(r / r_all * if(r = 0, 0, log2(2 * (r / r_all) / (r / r_all + c / c_all))) / 2 + c / c_all * if(c = 0, 0, log2(2 * (c / c_all) / (r / r_all + c / c_all))) / 2) AS js_part,
                max(abs(r_before / r_all - c_before / c_all)) AS far
            FROM
            (
                SELECT
                    *, feature IN ('confidence', 'surprise', 'input_length') AS is_numeric,
                    if(is_numeric, toString(least(9, intDiv(10 * (2 * r_before - r), 2 * r_all))), category) AS group
                FROM
                (
                    SELECT *, sum(r) OVER w AS r_before, sum(c) OVER w AS c_before, sum(r) OVER (PARTITION BY modality, task, feature, window) AS r_all, sum(c) OVER (PARTITION BY modality, task, feature, window) AS c_all
                    FROM
                    (
                        SELECT modality, task, feature, window, bin, category, sum(r) AS r, sum(c) AS c
                        FROM
                        (
                            SELECT modality, task, feature, window, bin, category, 0 AS r, c FROM bins WHERE c > 0
                            UNION ALL
                            SELECT modality, task, feature, window, bin, category, r, 0 AS c
                            FROM (SELECT modality, task, feature, bin, category, sum(bins.r) AS r FROM bins WHERE bins.r > 0 GROUP BY modality, task, feature, bin, category) AS old
                            INNER JOIN (SELECT DISTINCT modality, task, feature, window FROM bins WHERE c > 0) AS wanted USING (modality, task, feature)
                        )
                        GROUP BY modality, task, feature, window, bin, category
                    )
                    WINDOW w AS (PARTITION BY modality, task, feature, window ORDER BY bin, category ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                )
                WHERE r_all > 0 AND c_all > 0
            )
            GROUP BY modality, task, feature, window, group
        )
        GROUP BY modality, task, feature, window
    ) AS measured
    LEFT JOIN turns ON measured.modality = turns.modality AND measured.task = turns.task
    LEFT JOIN (SELECT modality, minIf(onset, onset > toDateTime(0, 'UTC')) AS onset, max(told) AS told FROM turns GROUP BY modality) AS inputs_turn ON measured.modality = inputs_turn.modality
)
GROUP BY modality, task, feature, detector, turn, labelled
ORDER BY modality, task, feature, detector
