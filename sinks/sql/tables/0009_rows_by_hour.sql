-- How many rows each hour holds, kept with every part: exact at any moment, whatever was killed. What is summed up compares with it.
-- `level` is document or session for an answer about a whole session, else empty; no SELECT * shows it.
ALTER TABLE predictions ADD COLUMN IF NOT EXISTS level LowCardinality(String) MATERIALIZED JSONExtractString(output, 'level');

ALTER TABLE input_stream MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE model_state MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE predictions MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE boundaries MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE performance MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE failures MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE labels MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE input_stream ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE model_state ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE predictions ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE boundaries ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE performance ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE failures ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
ALTER TABLE labels ADD PROJECTION IF NOT EXISTS rows_by_hour (SELECT toStartOfHour(timestamp), count() GROUP BY toStartOfHour(timestamp));
