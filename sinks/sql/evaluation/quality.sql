-- How often was the answer right, judged by the labels that came later, and how many answers have a label at all?
-- Title: Accuracy
-- Place: Quality 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   at: hour or day; empty unless asked by one
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   final: 1 for final answers, 0 for partial ones
--   answers: answers given
--   labelled: of these, how many have a label
--   maturity: share of the answers whose label has come
--   judged: answers and labels that both name a label
--   correct: the same one
--   accuracy: share of the judged that are right
--   accuracy_low: lower end of its 95 % interval (Wilson)
--   accuracy_high: upper end
--   labelled_twice: answers whose label came more than once; the last one counts
--   label_changed: of these, those whose labels differ
--   delay_p50_s: half of the labels came so long after the answer's event time, seconds
--   delay_p95_s: 95 in 100
--   is_frozen: 1 when labels have come and the last hour of the row is longer ago than 95 in 100 of all labels take: few will change it
WITH
    (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low,
    (k, n) -> if(n = 0, NULL, least(1, (k / n + 1.92072941 / n + 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_high,
    (SELECT quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(delay_s)[3] FROM hourly_quality) AS usual_delay_s
SELECT
    model_version, modality, task, level,
    if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    if({by:String} = 'age', tenth, NULL) AS age,
    final, given.answers, ifNull(scored.labelled, 0) AS labelled, labelled / answers AS maturity,
    scored.judged, scored.correct,
    if(judged = 0, NULL, correct / judged) AS accuracy, wilson_low(correct, judged) AS accuracy_low, wilson_high(correct, judged) AS accuracy_high,
    scored.labelled_twice, scored.label_changed,
    if(labelled = 0, NULL, delays[1]) AS delay_p50_s, if(labelled = 0, NULL, delays[3]) AS delay_p95_s,
    labelled > 0 AND toUnixTimestamp(last_hour) + 3600 + greatest(ifNull(usual_delay_s, 0), 0) < toUnixTimestamp(now()) AS is_frozen
FROM
(
    SELECT
        model_version, modality, task, level, prediction_type = 'final' AS final,
        if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment,
        if({by:String} = 'age', age, 0) AS tenth,
        sum(h.answers) AS answers, max(hour) AS last_hour
    FROM hourly_answers AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level, final, moment, tenth
) AS given
LEFT JOIN
(
    SELECT
        model_version, modality, task, level, prediction_type = 'final' AS final,
        if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment,
        if({by:String} = 'age', age, 0) AS tenth,
        sum(h.labelled) AS labelled, sum(h.judged) AS judged, sum(h.correct) AS correct,
        sum(h.labelled_twice) AS labelled_twice, sum(h.label_changed) AS label_changed,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(delay_s) AS delays
    FROM hourly_quality AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY model_version, modality, task, level, final, moment, tenth
) AS scored USING (model_version, modality, task, level, final, moment, tenth)
ORDER BY final DESC, model_version, modality, task, level, at, age
