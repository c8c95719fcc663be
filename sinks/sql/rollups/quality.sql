-- Labelled answers, summed up: right ones, errors of values, proper scores of the confidence that the label is right.
-- Reads: predictions, labels
-- After: outcomes
INSERT INTO built_quality
SELECT
    hour, {build:UInt64} AS build, model_version, modality, task, level, prediction_type, age,
    count() AS labelled,
    countIf(is_judged) AS judged,
    countIf(is_judged AND is_right) AS correct,
    countIf(is_sure) AS sure,
    countIf(is_sure AND is_right) AS sure_correct,
    sumIf(p, is_sure) AS confidence_sum,
    sumIf(pow(p - is_right, 2), is_sure) AS brier_sum,
    sumIf(-log(greatest(if(is_right, p, 1 - p), 1e-15)), is_sure) AS nll_sum,
    countIf(is_valued) AS valued,
    sumIf(value - ifNull(true_value, 0), is_valued) AS error_sum,
    sumIf(abs(value - ifNull(true_value, 0)), is_valued) AS absolute_error_sum,
    sumIf(pow(value - ifNull(true_value, 0), 2), is_valued) AS squared_error_sum,
    countIf(times > 1) AS labelled_twice,
    countIf(changed) AS label_changed,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(delay_s) AS delay_s
FROM
(
    SELECT
        *, label IS NOT NULL AND truth IS NOT NULL AS is_judged, ifNull(label = truth, false) AS is_right,
        is_judged AND confidence IS NOT NULL AS is_sure, ifNull(confidence, 0) AS p, true_value IS NOT NULL AND isFinite(value) AS is_valued
    FROM outcomes
    WHERE hour IN {hours:Array(DateTime('UTC'))}
)
GROUP BY hour, model_version, modality, task, level, prediction_type, age
