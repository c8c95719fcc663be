-- Features of input records of the days of these hours, summed from all their hours.
-- Reads: input_stream
-- After: inputs
INSERT INTO built_daily_inputs
SELECT toStartOfDay(h.hour) AS hour, {build:UInt64} AS build, model_version, modality, feature, bin, category, sum(h.n)
FROM hourly_inputs AS h
WHERE toStartOfDay(h.hour) IN (SELECT toStartOfDay(arrayJoin({hours:Array(DateTime('UTC'))})))
GROUP BY toStartOfDay(h.hour), model_version, modality, feature, bin, category
