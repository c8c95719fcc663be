-- How soon does a partial answer say what the final one will say?
-- Title: Partial answers by how much was read
-- Place: Stability 2
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   tenth: tenth of the span that was read, 0 to 9
--   partials: partial answers then
--   as_final: those that say what the final one says
--   share: share of the partial answers that say what the final one says
--   share_low: lower end of its 95 % interval (Wilson)
--   share_high: upper end
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT model_version, modality, task, level, tenth, n AS partials, same AS as_final, same / n AS share, wilson_low(same, n) AS share_low, wilson_high(same, n) AS share_high
FROM
(
    SELECT model_version, modality, task, level, sumForEach(h.partials) AS all_n, sumForEach(h.partials_as_final) AS all_same
    FROM hourly_stability AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level
)
ARRAY JOIN all_n AS n, all_same AS same, range(10) AS tenth
WHERE n > 0
ORDER BY model_version, modality, task, level, tenth
