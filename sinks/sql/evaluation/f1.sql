-- How good are the labels over all classes, the rare as much as the frequent?
-- Title: F1
-- Place: Quality 2
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   at: hour or day; empty unless asked by one
--   labels: classes that are true or said
--   judged: final answers with a label of their own and a true one
--   accuracy: share of them that are right
--   macro_f1: mean of the classes' F1
--   macro_f1_low: lower end of its 95 % interval (100 bootstrap samples of the answers)
--   macro_f1_high: upper end
--   weighted_f1: mean weighted by how often a class is true
WITH
    (n, a, b, c) -> sqrt(-2 * log((sipHash64(a, b, c, 1) % 1000003 + 1) / 1000004)) * cos(2 * pi() * (sipHash64(a, b, c, 2) % 1000003) / 1000003) AS normal,
    (n, z) -> greatest(0, pow(greatest(0, sqrt(n + 0.375) + z / 2), 2) - 0.375) AS drawn
SELECT
    model_version, modality, task, level, if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    anyIf(classes, sample = 0) AS labels, toUInt64(anyIf(total, sample = 0)) AS judged, anyIf(right / total, sample = 0) AS accuracy,
    anyIf(macro, sample = 0) AS macro_f1,
    quantileExactIf(0.025)(macro, sample > 0) AS macro_f1_low, quantileExactIf(0.975)(macro, sample > 0) AS macro_f1_high,
    anyIf(weighted / total, sample = 0) AS weighted_f1
FROM
(
    SELECT
        model_version, modality, task, level, moment, sample,
        count() AS classes, sum(true_n) AS total, sum(hits) AS right, avg(2 * hits / (true_n + said_n)) AS macro, sum(true_n * 2 * hits / (true_n + said_n)) AS weighted
    FROM
    (
        SELECT
            model_version, modality, task, level, moment, sample, pair.1 AS class,
            sumIf(n, pair.2) AS true_n, sumIf(n, NOT pair.2) AS said_n, sumIf(n, pair.2 AND pair.3) AS hits
        FROM
        (
            SELECT
                model_version, modality, task, level, moment, sample, arrayJoin([(truth, true, truth = label), (label, false, false)]) AS pair,
                if(sample = 0, toFloat64(answers), drawn(answers, normal(answers, truth, label, sample))) AS n
            FROM
            (
                SELECT model_version, modality, task, level, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, truth, label, sum(h.answers) AS answers
                FROM hourly_confusion AS h
                WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
                    AND ({model_version:String} = '' OR model_version = {model_version:String})
                    AND ({modality:String} = '' OR modality = {modality:String})
                    AND ({task:String} = '' OR task = {task:String})
                GROUP BY model_version, modality, task, level, moment, truth, label
            )
            ARRAY JOIN range(if({by:String} = 'all', 101, 1)) AS sample
        )
        GROUP BY model_version, modality, task, level, moment, sample, class
        HAVING true_n + said_n > 0
    )
    GROUP BY model_version, modality, task, level, moment, sample
)
GROUP BY model_version, modality, task, level, moment
ORDER BY model_version, modality, task, level, at
