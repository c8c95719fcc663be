-- What was said against what was true, final answers.
-- Reads: predictions, labels
-- After: outcomes
INSERT INTO built_confusion
SELECT hour, {build:UInt64} AS build, model_version, modality, task, level, assumeNotNull(truth) AS truth, assumeNotNull(label) AS label, count() AS answers
FROM outcomes
WHERE hour IN {hours:Array(DateTime('UTC'))} AND prediction_type = 'final' AND outcomes.label IS NOT NULL AND outcomes.truth IS NOT NULL
GROUP BY hour, model_version, modality, task, level, truth, label
