-- Features of final answers of the days of these hours, summed from all their hours.
-- Reads: predictions
-- After: features
INSERT INTO built_daily_features
SELECT toStartOfDay(h.hour) AS hour, {build:UInt64} AS build, model_version, modality, task, feature, bin, category, sum(h.n)
FROM hourly_features AS h
WHERE toStartOfDay(h.hour) IN (SELECT toStartOfDay(arrayJoin({hours:Array(DateTime('UTC'))})))
GROUP BY toStartOfDay(h.hour), model_version, modality, task, feature, bin, category
