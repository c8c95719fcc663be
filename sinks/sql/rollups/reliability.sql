-- Confidence of labelled answers in 200 bins of equal width.
-- Reads: predictions, labels
-- After: outcomes
INSERT INTO built_reliability
SELECT
    hour, {build:UInt64} AS build, model_version, modality, task, level, prediction_type, age,
    least(199, toUInt8(floor(greatest(assumeNotNull(confidence), 0) * 200))) AS bin,
    count() AS answers, countIf(label = truth) AS correct, sum(assumeNotNull(confidence)) AS confidence_sum
FROM outcomes
WHERE hour IN {hours:Array(DateTime('UTC'))} AND label IS NOT NULL AND truth IS NOT NULL AND confidence IS NOT NULL
GROUP BY hour, model_version, modality, task, level, prediction_type, age, bin
