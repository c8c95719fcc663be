-- Which labels are told well, and which are mistaken for others?
-- Title: Labels
-- Place: Quality 3
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   label: the label
--   true_answers: judged final answers whose truth it is
--   said: judged final answers that said it
--   hits: both
--   precision: share of those that said it that are right
--   precision_low: lower end of its 95 % interval (Wilson)
--   precision_high: upper end
--   recall: share of those whose truth it is that said it
--   recall_low: lower end of its 95 % interval (Wilson)
--   recall_high: upper end
--   f1: harmonic mean of precision and recall
--   f1_low: lower end of its 95 % interval (Wilson, of hits in all answers that are or say it)
--   f1_high: upper end
--   mistaken_for: what was said most often in its place
--   mistaken: how often
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high
SELECT
    model_version, modality, task, level, label, true_answers, said, hits,
    if(said = 0, NULL, hits / said) AS precision, wilson_low(hits, said) AS precision_low, wilson_high(hits, said) AS precision_high,
    if(true_answers = 0, NULL, hits / true_answers) AS recall, wilson_low(hits, true_answers) AS recall_low, wilson_high(hits, true_answers) AS recall_high,
    2 * hits / (true_answers + said) AS f1,
    2 * wilson_low(hits, true_answers + said - hits) / (1 + wilson_low(hits, true_answers + said - hits)) AS f1_low,
    2 * wilson_high(hits, true_answers + said - hits) / (1 + wilson_high(hits, true_answers + said - hits)) AS f1_high,
    mistaken_for, mistaken
FROM
(
    SELECT
        model_version, modality, task, level, pair.1 AS label,
        sumIf(n, pair.2) AS true_answers, sumIf(n, NOT pair.2) AS said, sumIf(n, pair.2 AND pair.3 = pair.1) AS hits,
        maxIf(n, pair.2 AND pair.3 != pair.1) AS mistaken, if(mistaken = 0, '', argMaxIf(pair.3, n, pair.2 AND pair.3 != pair.1)) AS mistaken_for
    FROM
    (
        SELECT model_version, modality, task, level, arrayJoin([(truth, true, label), (label, false, truth)]) AS pair, sum(answers) AS n
        FROM hourly_confusion
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND ({model_version:String} = '' OR model_version = {model_version:String})
            AND ({modality:String} = '' OR modality = {modality:String})
            AND ({task:String} = '' OR task = {task:String})
        GROUP BY model_version, modality, task, level, pair
    )
    GROUP BY model_version, modality, task, level, label
)
ORDER BY model_version, modality, task, level, true_answers DESC, label
