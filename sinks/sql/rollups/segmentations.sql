-- Sessions whose segments are labelled: Pk, WindowDiff and exact hits of the boundaries found, each session in the hour of its first record.
-- Reads: boundaries, labels, input_stream
-- Tasks sentence and paragraph: each labelled position begins a segment. Task topic: each labelled span does, and each labelled item whose label is not that of the item before.
INSERT INTO built_segmentations
SELECT
    toStartOfHour(begun) AS hour, {build:UInt64} AS build, session_id, model_version, modality, boundary_type, items, window_items,
    arraySum((a, b) -> (a > 0) != (b > 0), true_in_window, found_in_window) / windows AS pk,
    arraySum((a, b) -> a != b, true_in_window, found_in_window) / windows AS window_diff,
    length(arrayIntersect(truths, founds)) AS hits, length(founds) AS found, length(truths) AS true_boundaries
FROM
(
    SELECT
        s.session_id AS session_id, s.modality AS modality, s.model_version AS model_version, s.begun AS begun, s.items AS items, t.boundary_type AS boundary_type,
        arrayFilter(p -> p < items, t.truths) AS truths, arrayFilter(p -> p > 0 AND p < items, f.founds) AS founds,
        least(greatest(1, toUInt64(round(items / (length(truths) + 1) / 2))), items - 1) AS window_items,
        items - window_items AS windows,
        arrayCumSum(arrayMap(p -> has(truths, p) ? 1 : 0, range(items))) AS true_before, arrayCumSum(arrayMap(p -> has(founds, p) ? 1 : 0, range(items))) AS found_before,
        arrayMap(p -> true_before[p + window_items] - true_before[p], range(1, windows + 1)) AS true_in_window,
        arrayMap(p -> found_before[p + window_items] - found_before[p], range(1, windows + 1)) AS found_in_window
    FROM
    (
        SELECT session_id, task AS boundary_type, arrayDistinct(arrayFilter(p -> p > 0, groupArrayIf(toInt64(item), begins))) AS truths
        FROM
        (
            SELECT session_id, task, item, is_start OR (task = 'topic' AND is_item AND label != lagInFrame(label, 1, label) OVER (PARTITION BY session_id, task ORDER BY item ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) AS begins
            FROM
            (
                SELECT session_id, task, assumeNotNull(position) AS item, argMax(ifNull(label, ''), (timestamp, kafka_partition, kafka_offset)) AS label,
                    argMax(task != 'topic' OR span_end IS NOT NULL, (timestamp, kafka_partition, kafka_offset)) AS is_start, NOT is_start AS is_item
                FROM labels
                WHERE task IN ('sentence', 'paragraph', 'topic') AND position IS NOT NULL AND prediction_id IS NULL
                    AND session_id IN (SELECT session_id FROM input_stream WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
                GROUP BY session_id, task, item
            )
        )
        GROUP BY session_id, task
    ) AS t
    INNER JOIN
    (
        SELECT session_id, modality, any(model_version) AS model_version, min(timestamp) AS begun, toUInt64(max(token_position) + 1) AS items
        FROM input_stream
        WHERE session_id IN (SELECT session_id FROM labels WHERE session_id IN (SELECT session_id FROM input_stream WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}))
        GROUP BY session_id, modality
        HAVING toStartOfHour(begun) IN {hours:Array(DateTime('UTC'))} AND items > 1
    ) AS s ON t.session_id = s.session_id
    LEFT JOIN
    (
        SELECT session_id, modality, boundary_type, groupUniqArray(position) AS founds
        FROM boundaries WHERE session_id IN (SELECT session_id FROM labels WHERE session_id IN (SELECT session_id FROM input_stream WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})) GROUP BY session_id, modality, boundary_type
    ) AS f ON s.session_id = f.session_id AND s.modality = f.modality AND t.boundary_type = f.boundary_type
)
