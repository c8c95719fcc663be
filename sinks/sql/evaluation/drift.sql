-- Are answers and inputs distributed as they were?
-- Title: Drift
-- Place: Drift 1
-- Columns:
--   modality: tokens, logs, chat or metrics
--   task: task of the answers; empty for inputs
--   feature: confidence, label, surprise, input_length or vocabulary
--   reference_n: answers or records in the reference window
--   current_n: in the window compared with it
--   psi: population stability index, ten bins of the reference's quantiles or the categories
--   psi_noise: what it stays below in about 95 of 100 comparisons without any drift
--   js: Jensen-Shannon divergence, bits, 0 to 1
--   ks: Kolmogorov-Smirnov distance; empty for categories
--   ks_noise: what it stays below in 95 of 100 comparisons without any drift
--   wasserstein: mean distance of the quantiles: confidence as it is, surprise in nats, input_length in doublings
--   is_alarm: 1 when psi is above 0.25 and above its noise
WITH
    (SELECT if({split:DateTime('UTC')} > toDateTime(0, 'UTC'), {split:DateTime('UTC')}, toStartOfHour(toDateTime(intDiv(toUInt64(toUnixTimestamp(first)) + toUInt64(toUnixTimestamp(last)) + 3600, 2), 'UTC')))
        FROM (SELECT min(hour) AS first, max(hour) AS last FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})) AS cut
SELECT
    modality, task, feature, any(r_total) AS reference_n, any(c_total) AS current_n,
    sum((c_share - r_share) * log(c_share / r_share)) AS psi,
    (count() - 1 + 1.645 * sqrt(2 * (count() - 1))) * (1 / reference_n + 1 / current_n) AS psi_noise,
    sum(js_part) AS js,
    if(any(numeric), max(far), NULL) AS ks, if(any(numeric), 1.3581 * sqrt((reference_n + current_n) / (reference_n * current_n)), NULL) AS ks_noise,
    if(any(numeric), sum(moved), NULL) AS wasserstein,
    psi > 0.25 AND psi > psi_noise AS is_alarm
FROM
(
    SELECT
        modality, task, feature, group, any(is_numeric) AS numeric, any(r_all) AS r_total, any(c_all) AS c_total,
        greatest(sum(r) / r_total, 0.0001) AS r_share, greatest(sum(c) / c_total, 0.0001) AS c_share,
        sum(r / r_all * if(r = 0, 0, log2(2 * (r / r_all) / (r / r_all + c / c_all))) / 2 + c / c_all * if(c = 0, 0, log2(2 * (c / c_all) / (r / r_all + c / c_all))) / 2) AS js_part,
        max(abs(r_before / r_all - c_before / c_all)) AS far,
        sum(abs(r_before / r_all - c_before / c_all) * (next_bin - bin) * transform(feature, ['confidence', 'surprise', 'input_length'], [0.005, 0.1, 0.125], 1.)) AS moved
    FROM
    (
        SELECT
            *, feature IN ('confidence', 'surprise', 'input_length') AS is_numeric,
            if(is_numeric, toString(least(9, intDiv(10 * (2 * r_before - r), 2 * r_all))), category) AS group
        FROM
        (
            SELECT
                *,
                sum(r) OVER w AS r_before, sum(c) OVER w AS c_before,
                sum(r) OVER (PARTITION BY modality, task, feature) AS r_all, sum(c) OVER (PARTITION BY modality, task, feature) AS c_all,
                leadInFrame(bin, 1, bin) OVER (PARTITION BY modality, task, feature ORDER BY bin, category ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_bin
            FROM
            (
                SELECT modality, task, feature, bin, category, sumIf(n, is_old) AS r, sumIf(n, is_new) AS c
                FROM
                (
                    SELECT *, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new
                    FROM
                    (
                SELECT hour, model_version, modality, task, feature, bin, category, n FROM daily_features WHERE ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut)) AND ({modality:String} = '' OR modality = {modality:String}) AND ({task:String} = '' OR task = {task:String})
                UNION ALL
                SELECT hour, model_version, modality, task, feature, bin, category, n FROM hourly_features WHERE NOT ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut)) AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String}) AND ({task:String} = '' OR task = {task:String})
                UNION ALL
                SELECT hour, model_version, modality, '' AS task, feature, bin, category, n FROM daily_inputs WHERE ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut)) AND ({modality:String} = '' OR modality = {modality:String})
                UNION ALL
                SELECT hour, model_version, modality, '' AS task, feature, bin, category, n FROM hourly_inputs WHERE NOT ((toStartOfDay(hour) >= {since:DateTime('UTC')} AND toStartOfDay(hour) + 86400 <= {until:DateTime('UTC')}) AND toStartOfDay(hour) != toStartOfDay(cut)) AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String})
                    )
                )
                GROUP BY modality, task, feature, bin, category
            )
            WHERE r + c > 0
            WINDOW w AS (PARTITION BY modality, task, feature ORDER BY bin, category ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        )
        WHERE r_all > 0 AND c_all > 0
    )
    GROUP BY modality, task, feature, group
)
GROUP BY modality, task, feature
ORDER BY psi DESC, modality, task, feature
