-- What is there to evaluate: since when, how many sessions, answers and labels?
-- Title: Inventory
-- Place: Inventory 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   first: first hour with an answer
--   last: last one
--   hours: hours with answers
--   sessions: sessions answered (within 2 %)
--   finals: final answers
--   partials: partial answers
--   labelled: answers with a label
--   maturity: share of the final answers that have one
SELECT model_version, modality, task, level, first, last, hours, sessions, finals, partials, labelled, if(finals = 0, NULL, labelled_finals / finals) AS maturity
FROM
(
    SELECT model_version, modality, task, level, min(hour) AS first, max(hour) AS last, uniqExact(hour) AS hours, uniqCombinedMerge(12)(h.sessions) AS sessions,
        sumIf(h.answers, prediction_type = 'final') AS finals, sumIf(h.answers, prediction_type = 'partial') AS partials
    FROM hourly_answers AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, level
) AS given
LEFT JOIN
(
    SELECT model_version, modality, task, level, sum(h.labelled) AS labelled, sumIf(h.labelled, prediction_type = 'final') AS labelled_finals
    FROM hourly_quality AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY model_version, modality, task, level
) AS scored USING (model_version, modality, task, level)
ORDER BY model_version, modality, task, level
