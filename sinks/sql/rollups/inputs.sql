-- Features of input records, in fine bins.
-- Reads: input_stream
INSERT INTO built_inputs
SELECT toStartOfHour(timestamp) AS hour, {build:UInt64} AS build, model_version, modality, told.1 AS feature, told.2 AS bin, told.3 AS category, count() AS n
FROM
(
    SELECT timestamp, model_version, modality, arrayJoin([
        ('input_length', toInt32(floor(8 * log2(1 + lengthUTF8(token_text)))), ''),
        ('vocabulary', toInt32(0), toString(sipHash64(token_id) % 64))]) AS told
    FROM input_stream
    WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}
)
GROUP BY hour, model_version, modality, feature, bin, category
