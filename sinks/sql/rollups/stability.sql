-- Spans whose answer was final in the hour and had partial ones before: how often it changed, from when on it stayed.
-- Reads: predictions
INSERT INTO built_stability
SELECT
    toStartOfHour(ended) AS hour, {build:UInt64} AS build, model_version, modality, task, level, age,
    count() AS spans,
    sum(length(labels)) AS outputs,
    sum(flips) AS flips,
    sum(flips * flips) AS flips_squared,
    countIf(flips > 0) AS flipped_spans,
    sum(erased) AS erased_words,
    sum(length(words[-1])) AS final_words,
    sum((ends[stable_from] - span_start) / greatest(ends[-1] - span_start, 1)) AS stable_share_sum,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(dateDiff('microsecond', times[1], times[stable_from]) / 1e6) AS stable_s,
    sumForEach(arrayMap(tenth -> toUInt64(arrayCount(t -> t = tenth, tenths)), range(10))) AS partials,
    sumForEach(arrayMap(tenth -> toUInt64(arrayCount((t, label) -> t = tenth AND label = labels[-1], tenths, arrayPopBack(labels))), range(10))) AS partials_as_final
FROM
(
    SELECT
        *,
        arrayCount((a, b) -> a != b, arrayPopBack(labels), arrayPopFront(labels)) AS flips,
        arrayMap(label -> splitByRegexp('[^\\p{L}\\p{N}]+', label), labels) AS words,
        arraySum((a, b) -> toInt64(length(a)) - toInt64(arrayFirstIndex((x, y) -> x != y, arrayPushBack(a, '\0'), arrayResize(b, length(a) + 1, '\1'))) + 1, arrayPopBack(words), arrayPopFront(words)) AS erased,
        length(labels) - toUInt64(arrayFirstIndex(label -> label != labels[-1], arrayReverse(labels)) = 0 ? length(labels) : arrayFirstIndex(label -> label != labels[-1], arrayReverse(labels)) - 1) + 1 AS stable_from,
        arrayMap(end -> least(9, intDiv(10 * (end - span_start - 1), greatest(ends[-1] - span_start, 1))), arrayPopBack(ends)) AS tenths
    FROM
    (
        SELECT
            prediction_id, any(model_version) AS model_version, any(modality) AS modality, any(task) AS task, any(level) AS level, min(span_start) AS span_start,
            arraySort(groupArray((revision, assumeNotNull(label)::String, span_end, timestamp))) AS outputs,
            outputs.2 AS labels, outputs.3 AS ends, outputs.4 AS times,
            maxIf(timestamp, prediction_type = 'final') AS ended,
            any(least(9, intDiv(10 * greatest(position, 0), greatest(items, 1)))) AS age
        FROM predictions
        ANY LEFT JOIN (SELECT session_id, modality, max(span_end) AS items FROM predictions WHERE session_id IN (SELECT session_id FROM predictions WHERE revision > 0 AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}) GROUP BY session_id, modality) AS lengths USING (session_id, modality)
        WHERE session_id IN (SELECT session_id FROM predictions WHERE revision > 0 AND prediction_type = 'final' AND label IS NOT NULL AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
            AND prediction_id IN (SELECT prediction_id FROM predictions WHERE revision > 0 AND prediction_type = 'final' AND label IS NOT NULL AND timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
            AND label IS NOT NULL
        GROUP BY session_id, prediction_id
    )
)
GROUP BY hour, model_version, modality, task, level, age
