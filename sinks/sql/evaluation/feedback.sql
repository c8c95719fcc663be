-- What do people who look at the answers say of them, thumb up or thumb down?
-- Title: Thumbs
-- Place: Quality 6
-- Columns:
--   model_version: version of the model that gave the answer
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   at: hour or day of the answers; empty unless asked by one
--   answers: final answers given
--   thumbs: answers somebody judged; the last thumb about an answer counts
--   up: thumbs up
--   down: thumbs down
--   share_up: share of the thumbs that are up; people judge what strikes them, so compare versions by it, and do not take it for accuracy
--   share_up_low: lower end of its 95 % interval (Wilson)
--   share_up_high: upper end
--   corrected: thumbs down after which the right label was given
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT
    model_version, modality, task, level, if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    given.answers, judged.up + judged.down AS thumbs, judged.up, judged.down,
    if(thumbs = 0, NULL, judged.up / thumbs) AS share_up, wilson_low(judged.up, thumbs) AS share_up_low, wilson_high(judged.up, thumbs) AS share_up_high,
    judged.corrected
FROM
(
    SELECT
        model_version, modality, task, level,
        if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment,
        sum(h.up) AS up, sum(h.down) AS down, sum(h.corrected) AS corrected
    FROM hourly_feedback AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level, moment
) AS judged
LEFT JOIN
(
    SELECT
        model_version, modality, task, level,
        if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment,
        sum(h.answers) AS answers
    FROM hourly_answers AS h
    WHERE prediction_type = 'final' AND hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY model_version, modality, task, level, moment
) AS given USING (model_version, modality, task, level, moment)
ORDER BY model_version, modality, task, level, at
