-- Latency by age of the days of these hours, merged from all their hours.
-- Reads: predictions
-- After: answers
INSERT INTO built_daily_ages
SELECT toStartOfDay(h.hour) AS hour, {build:UInt64} AS build, model_version, modality, task, age,
    sum(h.answers), sum(h.over_50_ms), sum(h.over_200_ms), max(h.latency_max_ms), quantilesTDigestMergeState(0.5, 0.95, 0.99, 0.999)(h.latency_ms)
FROM hourly_answers AS h
WHERE toStartOfDay(h.hour) IN (SELECT toStartOfDay(arrayJoin({hours:Array(DateTime('UTC'))})))
GROUP BY toStartOfDay(h.hour), model_version, modality, task, age
