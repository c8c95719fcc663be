-- Which alarm of drift would have told of a loss of accuracy, how soon, and how often for nothing?
-- Title: Alarms of drift
-- Place: Drift 3
-- Default: by = day
-- Columns:
--   modality: tokens, logs, chat or metrics
--   task: task of the answers; empty for inputs
--   feature: confidence, label, surprise, input_length or vocabulary
--   detector: psi, js or ks, of 20 bins or so; beside them one that never fires and one that always does
--   windows: hours or days compared with the reference, the latest 400 at most
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
    (SELECT toUInt64(if({by:String} = 'hour' OR ({by:String} != 'day' AND hours < 14 * 86400), 3600, 86400)) FROM (SELECT max(hour) - min(hour) AS hours FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})) AS step,
    (SELECT arraySlice(arraySort(groupUniqArray(intDiv(toUInt64(toUnixTimestamp(hour)), step) * step)), -400) FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}) AS all_windows
SELECT
    modality, task, feature, detector, count() AS windows, countIf(fires) AS alarms,
    if(alarms = 0, NULL, toDateTime(minIf(window, fires), 'UTC')) AS first_alarm,
    if(turn > 0, toDateTime(turn, 'UTC'), NULL) AS onset, labelled AS judged_windows,
    if(turn = 0 OR countIf(fires AND window + step > turn) = 0, NULL, greatest(0, toInt64(minIf(window, fires AND window + step > turn)) - toInt64(turn)) / 3600) AS delay_h,
    if(labelled = 0 AND turn = 0, NULL, countIf(fires AND (turn = 0 OR window + step <= turn)) / (countIf(turn = 0 OR window + step <= turn) * step / 86400)) AS false_alarms_a_day
FROM
(
    SELECT
        measured.modality AS modality, measured.task AS task, feature, window, turns.turn AS turn, turns.labelled AS labelled,
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
                modality, task, feature, window, group, any(is_numeric) AS numeric, any(r_all) AS r_total, any(c_all) AS c_total, countIf(r + c > 0) AS bins_in,
                greatest(sum(r) / r_total, 0.0001) AS r_share, greatest(sum(c) / c_total, 0.0001) AS c_share,
                sum(r / r_all * if(r = 0, 0, log2(2 * (r / r_all) / (r / r_all + c / c_all))) / 2 + c / c_all * if(c = 0, 0, log2(2 * (c / c_all) / (r / r_all + c / c_all))) / 2) AS js_part,
                max(abs(r_before / r_all - c_before / c_all)) AS far
            FROM
            (
                SELECT
                    *, feature IN ('confidence', 'surprise', 'input_length') AS is_numeric,
                    if(is_numeric, least(9, intDiv(10 * (2 * r_before - r), 2 * r_all)), toInt64(sipHash64(category) % 1000003)) AS group
                FROM
                (
                    SELECT *, sum(r) OVER w AS r_before, sum(c) OVER w AS c_before, sum(r) OVER (PARTITION BY modality, task, feature, window) AS r_all, sum(c) OVER (PARTITION BY modality, task, feature, window) AS c_all
                    FROM
                    (
                        SELECT modality, task, feature, coarse, category, r, window, c
                        FROM
                        (
                            SELECT
                                modality, task, feature, coarse, category, sumIf(n, window = 0) AS r,
                                arrayReduce('sumMap', [groupArrayIf(window, window > 0)], [groupArrayIf(n, window > 0)]) AS counted,
                                arrayMap(at -> counted.2[indexOf(counted.1, at)], all_windows) AS counts
                            FROM
                            (
                                SELECT
                                    modality, task, feature, if(is_new, intDiv(toUInt64(toUnixTimestamp(hour)), step) * step, 0) AS window, sum(n) AS n,
                                    intDiv(bin, transform(feature, ['confidence', 'surprise', 'input_length'], [10, 5, 4], 1)) AS coarse, if(feature = 'vocabulary', toString(toUInt16OrZero(category) % 16), category) AS category
                                FROM (SELECT *, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new FROM (SELECT hour, model_version, modality, task, feature, bin, category, n FROM daily_features WHERE ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut) AND (step = 86400 OR ({reference:String} = '' AND toStartOfDay(hour) + 86400 <= cut))) AND ({modality:String} = '' OR modality = {modality:String}) AND ({task:String} = '' OR task = {task:String})
                UNION ALL
                SELECT hour, model_version, modality, task, feature, bin, category, n FROM hourly_features WHERE NOT ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut) AND (step = 86400 OR ({reference:String} = '' AND toStartOfDay(hour) + 86400 <= cut))) AND ({reference:String} != '' OR hour < cut OR toUInt64(toUnixTimestamp(hour)) >= all_windows[1]) AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String}) AND ({task:String} = '' OR task = {task:String})
                UNION ALL
                SELECT hour, model_version, modality, '' AS task, feature, bin, category, n FROM daily_inputs WHERE ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut) AND (step = 86400 OR ({reference:String} = '' AND toStartOfDay(hour) + 86400 <= cut))) AND ({modality:String} = '' OR modality = {modality:String})
                UNION ALL
                SELECT hour, model_version, modality, '' AS task, feature, bin, category, n FROM hourly_inputs WHERE NOT ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut) AND (step = 86400 OR ({reference:String} = '' AND toStartOfDay(hour) + 86400 <= cut))) AND ({reference:String} != '' OR hour < cut OR toUInt64(toUnixTimestamp(hour)) >= all_windows[1]) AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String})))
                                WHERE is_old OR is_new
                                GROUP BY modality, task, feature, window, coarse, category
                                HAVING window = 0 OR window >= all_windows[1]
                            )
                            GROUP BY modality, task, feature, coarse, category
                        )
                        ARRAY JOIN all_windows AS window, counts AS c
                    )
                    WINDOW w AS (PARTITION BY modality, task, feature, window ORDER BY coarse, category ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                )
                WHERE r_all > 0 AND c_all > 0
            )
            GROUP BY modality, task, feature, window, group
        )
        GROUP BY modality, task, feature, window
    ) AS measured
    LEFT JOIN
    (
        SELECT modality, arrayJoin(['', of_task]) AS task, minIf(fell, fell > 0) AS turn, max(told) AS labelled
        FROM
        (
            SELECT
                modality, task AS of_task, wilson_low(sumIf(k, window = 0), sumIf(n, window = 0)) AS low, countIf(window > 0 AND n > 0) AS told,
                if({onset:DateTime('UTC')} > toDateTime(0, 'UTC'), [toUInt64(toUnixTimestamp({onset:DateTime('UTC')}))],
                    arrayFilter((at, high) -> high < low, groupArrayIf(window, window > 0 AND n > 0), groupArrayIf(ifNull(wilson_high(k, n), 1), window > 0 AND n > 0))) AS fallen,
                if(empty(fallen), 0, arrayMin(fallen)) AS fell
            FROM
            (
                SELECT modality, task, if(is_new, intDiv(toUInt64(toUnixTimestamp(hour)), step) * step, 0) AS window, sum(judged) AS n, sum(correct) AS k
                FROM (SELECT *, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new FROM hourly_quality WHERE prediction_type = 'final' AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})
                WHERE is_old OR is_new
                GROUP BY modality, task, window
            )
            GROUP BY modality, task
        )
        GROUP BY modality, task
    ) AS turns ON measured.modality = turns.modality AND measured.task = turns.task
)
GROUP BY modality, task, feature, detector, turn, labelled
ORDER BY modality, task, feature, detector
