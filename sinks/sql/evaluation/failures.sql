-- What failed, how often, what helped, how many sessions were hit, and how long until they were read on?
-- Title: Failures
-- Place: Failures 1
-- Columns:
--   model_version: version of the model; empty for failures of the writer
--   modality: tokens, logs, chat or metrics; empty where it is not known
--   failure_type: class of the error
--   at: hour or day; empty unless asked by one
--   failures: how many
--   attempts: how often something was tried against them
--   recovered: after which all went on without a loss
--   recovery_rate: share recovered
--   recovery_low: lower end of its 95 % interval (Wilson)
--   dead_letters: records put aside in topic dead-letter
--   sessions: sessions hit
--   recover_mean_s: mean seconds of event time to the session's next record
--   recover_n: failures after which the session was read on
WITH (k, n) -> if(n = 0, NULL, greatest(0, (k / n + 1.92072941 / n - 1.95996398 * sqrt(k / n * (1 - k / n) / n + 0.96036471 / (n * n))) / (1 + 3.84145882 / n))) AS wilson_low
SELECT
    model_version, modality, failure_type,
    if({by:String} IN ('hour', 'day'), if({by:String} = 'hour', hour, toDateTime(toStartOfDay(hour), 'UTC')), NULL) AS at,
    sum(h.failures) AS failures,
    sum(h.attempts) AS attempts,
    sum(h.recovered) AS recovered,
    recovered / failures AS recovery_rate,
    wilson_low(recovered, failures) AS recovery_low,
    sum(h.dead_letters) AS dead_letters,
    uniqCombinedMerge(12)(h.sessions) AS sessions,
    if(sum(recover_s_n) = 0, NULL, sum(recover_s_sum) / sum(recover_s_n)) AS recover_mean_s,
    sum(recover_s_n) AS recover_n
FROM hourly_failures AS h
WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    AND ({model_version:String} = '' OR model_version = {model_version:String})
    AND ({modality:String} = '' OR modality = {modality:String})
GROUP BY model_version, modality, failure_type, at
ORDER BY failures DESC, model_version, modality, failure_type, at
