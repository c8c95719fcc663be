-- Features of final answers, in fine bins.
-- Reads: predictions
INSERT INTO built_features
SELECT hour, {build:UInt64} AS build, model_version, modality, task, told.1 AS feature, told.2 AS bin, told.3 AS category, sum(answers) AS n
FROM
(
    SELECT
        toStartOfHour(timestamp) AS hour, model_version, modality, task,
        arrayJoin(arrayFilter(f -> f.1 != '', [
            (if(confidence IS NULL, '', 'confidence'), least(199, toInt32(floor(greatest(ifNull(confidence, 0), 0) * 200))), ''),
            (if(task != 'surprise' OR NOT isFinite(value), '', 'surprise'), toInt32(least(greatest(floor(value * 10), -1000), 1000)), ''),
            (if(label IS NULL, '', 'label'), toInt32(0), ifNull(label::Nullable(String), ''))])) AS told,
        count() AS answers
    FROM predictions
    WHERE prediction_type = 'final' AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
    GROUP BY hour, model_version, modality, task, told
)
GROUP BY hour, model_version, modality, task, feature, bin, category
