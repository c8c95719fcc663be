-- Failures: how many, what helped, and how long until their session was read on (its next input record, by event time).
-- Reads: failures, input_stream
INSERT INTO built_failures
WITH failed AS
(
    SELECT
        failure_id, min(timestamp) AS at, any(session_id) AS session, any(model_version) AS version, any(modality) AS kind, any(failure_type) AS type,
        count() AS attempts, max(recovery_success AND recovery_action != 'dead_letter') AS recovered, max(recovery_action = 'dead_letter') AS dead
    FROM failures
    WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
    GROUP BY failure_id
)
SELECT
    toStartOfHour(at) AS hour, {build:UInt64} AS build, version AS model_version, kind AS modality, type AS failure_type,
    count() AS failures,
    sum(attempts) AS attempts,
    sum(recovered) AS recovered,
    sum(dead) AS dead_letters,
    sum(next_s) AS recover_s_sum,
    count(next_s) AS recover_s_n,
    uniqCombinedStateIf(12)(session, session != '') AS sessions
FROM
(
    SELECT failed.*, if(next.timestamp > failed.at, dateDiff('microsecond', failed.at, next.timestamp) / 1e6, NULL) AS next_s
    FROM failed
    ASOF LEFT JOIN (SELECT session_id, timestamp FROM input_stream WHERE session_id IN (SELECT session FROM failed)) AS next
        ON failed.session = next.session_id AND failed.at < next.timestamp
)
GROUP BY hour, model_version, modality, failure_type
