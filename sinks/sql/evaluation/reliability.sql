-- When the model is so sure, how often is it right?
-- Title: Reliability
-- Place: Calibration 2
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   final: 1 for final answers, 0 for partial ones
--   binning: width (bins of equal width) or mass (of about as many answers)
--   bin: number of the bin, from 0
--   answers: labelled answers in it
--   confidence: their mean confidence
--   accuracy: share that is right
--   accuracy_low: lower end of its 95 % interval (Wilson)
--   accuracy_high: upper end
--   gap: accuracy minus confidence
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT
    model_version, modality, task, level, if({by:String} = 'age', tenth, NULL) AS age, final, put.1 AS binning, put.2 AS bin,
    sum(n) AS answers, sum(c) / answers AS confidence, sum(k) / answers AS accuracy,
    wilson_low(sum(k), answers) AS accuracy_low, wilson_high(sum(k), answers) AS accuracy_high, accuracy - confidence AS gap
FROM
(
    SELECT
        model_version, modality, task, level, final, tenth, answers AS n, correct AS k, confidence_sum AS c,
        arrayJoin([('width', toInt64(intDiv(bin * {bins:UInt32}, 200))), ('mass', toInt64(least({bins:UInt32} - 1, intDiv({bins:UInt32} * (2 * before - answers), 2 * total))))]) AS put
    FROM
    (
        SELECT *, sum(answers) OVER (PARTITION BY model_version, modality, task, level, final, tenth ORDER BY bin) AS before, sum(answers) OVER (PARTITION BY model_version, modality, task, level, final, tenth) AS total
        FROM
        (
        SELECT
            model_version, modality, task, level, prediction_type = 'final' AS final, if({by:String} = 'age', age, 0) AS tenth, bin,
            sum(h.answers) AS answers, sum(h.correct) AS correct, sum(h.confidence_sum) AS confidence_sum
        FROM hourly_reliability AS h
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND ({model_version:String} = '' OR model_version = {model_version:String})
            AND ({modality:String} = '' OR modality = {modality:String})
            AND ({task:String} = '' OR task = {task:String})
        GROUP BY model_version, modality, task, level, final, tenth, bin
        )
    )
)
GROUP BY model_version, modality, task, level, tenth, final, put
ORDER BY model_version, modality, task, level, final DESC, age, binning, bin
