-- Thumbs: records of task `feedback` that name a prediction, value 1 for up and 0 for down. Of several about one answer the last counts.
-- Reads: predictions, labels
-- An answer's revisions share its id: a thumb speaks of the first that said the label it names, so that later ones never move it to another hour.
INSERT INTO built_feedback
SELECT
    toStartOfHour(said.at) AS hour, {build:UInt64} AS build, said.version AS model_version, said.modality, said.task, said.level,
    countIf(thumbs.is_up) AS up, countIf(NOT thumbs.is_up) AS down, countIf(NOT thumbs.is_up AND truths.n > 0) AS corrected
FROM
(
    SELECT session_id, assumeNotNull(prediction_id) AS prediction_id, ifNull(label, '') AS label, argMax(value, (timestamp, kafka_partition, kafka_offset)) >= 0.5 AS is_up
    FROM labels
    WHERE task = 'feedback' AND labels.prediction_id IS NOT NULL AND value IS NOT NULL
        AND session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
    GROUP BY session_id, prediction_id, label
) AS thumbs
INNER JOIN
(
    SELECT
        session_id, prediction_id, ifNull(label::Nullable(String), '') AS label, modality, any(task) AS task, any(level) AS level,
        argMin(timestamp, revision) AS at, argMin(model_version, revision) AS version
    FROM predictions
    WHERE session_id IN (SELECT session_id FROM labels WHERE task = 'feedback')
        AND session_id IN (SELECT session_id FROM predictions WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
    GROUP BY session_id, prediction_id, label, modality
) AS said ON thumbs.session_id = said.session_id AND thumbs.prediction_id = said.prediction_id AND thumbs.label = said.label
LEFT JOIN
(
    SELECT session_id, assumeNotNull(prediction_id) AS prediction_id, count() AS n
    FROM labels
    WHERE task != 'feedback' AND labels.prediction_id IS NOT NULL AND session_id IN (SELECT session_id FROM labels WHERE task = 'feedback')
    GROUP BY session_id, prediction_id
) AS truths ON thumbs.session_id = truths.session_id AND thumbs.prediction_id = truths.prediction_id
WHERE toStartOfHour(said.at) IN {hours:Array(DateTime('UTC'))}
GROUP BY hour, model_version, modality, task, level
