-- What the columns of the summed-up tables mean, kept with them; docs/data-dictionary.md is made from it.
ALTER TABLE built_hours
    COMMENT COLUMN source 'Table whose rows were counted.',
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN rows 'Rows it held before the hour was computed.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.';

ALTER TABLE built_answers
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN prediction_type 'partial or final.',
    COMMENT COLUMN age 'Tenth of its session in which the answer lies, 0 to 9.',
    COMMENT COLUMN answers 'How many.',
    COMMENT COLUMN sure 'Those with a confidence.',
    COMMENT COLUMN confidence_sum 'Sum of their confidences.',
    COMMENT COLUMN over_50_ms 'Slower than 50 ms.',
    COMMENT COLUMN over_200_ms 'Slower than 200 ms.',
    COMMENT COLUMN latency_max_ms 'The slowest, milliseconds.',
    COMMENT COLUMN latency_ms 'Digest of latencies, milliseconds; quantilesTDigestMerge reads it.',
    COMMENT COLUMN sessions 'Sketch of session ids; uniqCombinedMerge(12) reads it.';

ALTER TABLE built_stages
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN stage 'Stage of the worker''s work, as metric_name of performance without _ms.',
    COMMENT COLUMN measured 'How many measurements.',
    COMMENT COLUMN over_50_ms 'Longer than 50 ms.',
    COMMENT COLUMN over_200_ms 'Longer than 200 ms.',
    COMMENT COLUMN max_ms 'The longest, milliseconds.',
    COMMENT COLUMN ms 'Digest of durations, milliseconds.';

ALTER TABLE built_failures
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN failure_type 'Class of the error.',
    COMMENT COLUMN failures 'How many, each once however often recovery was tried.',
    COMMENT COLUMN attempts 'Rows of failures about them.',
    COMMENT COLUMN recovered 'Those after which all went on without a loss.',
    COMMENT COLUMN dead_letters 'Records put aside.',
    COMMENT COLUMN recover_s_sum 'Seconds of event time to the session''s next record, summed.',
    COMMENT COLUMN recover_s_n 'Failures after which there was one.',
    COMMENT COLUMN sessions 'Sketch of session ids.';

ALTER TABLE built_outcomes
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN event_id 'Of the answer.',
    COMMENT COLUMN prediction_id 'Shared by all revisions of one span''s answer.',
    COMMENT COLUMN session_id 'The session.',
    COMMENT COLUMN position 'The item the answer is about.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN prediction_type 'partial or final.',
    COMMENT COLUMN revision 'Counts the versions of one prediction_id from 0.',
    COMMENT COLUMN age 'Tenth of its session in which the answer lies, 0 to 9.',
    COMMENT COLUMN label 'What was said.',
    COMMENT COLUMN truth 'The label that came last; NULL where only a value came, or it was taken back.',
    COMMENT COLUMN confidence 'Calibrated probability that the label is right.',
    COMMENT COLUMN value 'The value that was told.',
    COMMENT COLUMN true_value 'The value that came last.',
    COMMENT COLUMN delay_s 'Event time of the answer to the time of the label, seconds.',
    COMMENT COLUMN times 'How many labels spoke of it.',
    COMMENT COLUMN changed 'They were not all the same.';

ALTER TABLE built_quality
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN prediction_type 'partial or final.',
    COMMENT COLUMN age 'Tenth of its session in which the answer lies, 0 to 9.',
    COMMENT COLUMN labelled 'Answers with a label.',
    COMMENT COLUMN judged 'Answer and label both name a label.',
    COMMENT COLUMN correct 'The same one.',
    COMMENT COLUMN sure 'Judged answers with a confidence.',
    COMMENT COLUMN sure_correct 'Those that are right.',
    COMMENT COLUMN confidence_sum 'Sum of their confidences.',
    COMMENT COLUMN brier_sum 'Sum of squared distances of confidence and being right.',
    COMMENT COLUMN nll_sum 'Sum of negative log-likelihoods of being right, nats.',
    COMMENT COLUMN valued 'Answers whose true value came.',
    COMMENT COLUMN error_sum 'Sum of told minus true.',
    COMMENT COLUMN absolute_error_sum 'Sum of distances.',
    COMMENT COLUMN squared_error_sum 'Sum of squared distances.',
    COMMENT COLUMN labelled_twice 'Answers with more than one label.',
    COMMENT COLUMN label_changed 'Those whose labels differ.',
    COMMENT COLUMN delay_s 'Digest of delays, seconds.';

ALTER TABLE built_confusion
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN truth 'The true label.',
    COMMENT COLUMN label 'What was said.',
    COMMENT COLUMN answers 'How many final answers.';

ALTER TABLE built_reliability
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN prediction_type 'partial or final.',
    COMMENT COLUMN age 'Tenth of its session in which the answer lies, 0 to 9.',
    COMMENT COLUMN bin '200ths of confidence, 0 to 199.',
    COMMENT COLUMN answers 'Labelled answers in it.',
    COMMENT COLUMN correct 'Those that are right.',
    COMMENT COLUMN confidence_sum 'Sum of their confidences.';

ALTER TABLE built_stability
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN level 'document or session for answers about whole sessions, else empty.',
    COMMENT COLUMN age 'Tenth of its session in which the answer lies, 0 to 9.',
    COMMENT COLUMN spans 'Spans with partial answers before their final one.',
    COMMENT COLUMN outputs 'Answers to them.',
    COMMENT COLUMN flips 'Changes of label.',
    COMMENT COLUMN flips_squared 'Their squares, summed span by span.',
    COMMENT COLUMN flipped_spans 'Spans with a change.',
    COMMENT COLUMN erased_words 'Words of labels taken back.',
    COMMENT COLUMN final_words 'Words of the final labels.',
    COMMENT COLUMN stable_share_sum 'Share of the span read when the final label was first said for good, summed.',
    COMMENT COLUMN stable_s 'Digest of the seconds from the first answer until then.',
    COMMENT COLUMN partials 'Partial answers by tenth of the span read.',
    COMMENT COLUMN partials_as_final 'Those that say what the final one says.';

ALTER TABLE built_boundaries
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN boundary_type 'sentence, paragraph or topic.',
    COMMENT COLUMN detected_by 'rule or model.',
    COMMENT COLUMN boundaries 'How many.',
    COMMENT COLUMN confidence_sum 'Sum of their confidences.',
    COMMENT COLUMN corrections 'Those decided after a later record had been read.',
    COMMENT COLUMN late_items 'Digest of how many records later.';

ALTER TABLE built_segmentations
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN session_id 'The session.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN boundary_type 'sentence, paragraph or topic.',
    COMMENT COLUMN items 'Records of the session.',
    COMMENT COLUMN window_items 'Half a mean true segment.',
    COMMENT COLUMN pk 'Share of windows that disagree whether a boundary lies in them.',
    COMMENT COLUMN window_diff 'Share of windows that disagree how many do.',
    COMMENT COLUMN hits 'Boundaries found at the very item.',
    COMMENT COLUMN found 'Boundaries found.',
    COMMENT COLUMN true_boundaries 'Boundaries labelled.';

ALTER TABLE built_features
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN task 'Task of the answers.',
    COMMENT COLUMN feature 'confidence, surprise or label.',
    COMMENT COLUMN bin 'Fine bin of a number; 0 of a category.',
    COMMENT COLUMN category 'The label; empty of a number.',
    COMMENT COLUMN n 'How many final answers.';

ALTER TABLE built_inputs
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN feature 'input_length or vocabulary.',
    COMMENT COLUMN bin 'Fine bin of a number; 0 of a category.',
    COMMENT COLUMN category 'One of 256 by the hash of the first model token; empty of a number.',
    COMMENT COLUMN n 'How many records.';

ALTER TABLE built_states
    COMMENT COLUMN hour 'Hour of event time, UTC.',
    COMMENT COLUMN build 'When it was computed, microseconds since the epoch; the newest of an hour counts.',
    COMMENT COLUMN model_version 'Version of the model that was running.',
    COMMENT COLUMN modality 'tokens, logs, chat or metrics.',
    COMMENT COLUMN state_type 'token, sentence, paragraph, topic or document.',
    COMMENT COLUMN dimensions 'Length of the representations.',
    COMMENT COLUMN states 'How many.',
    COMMENT COLUMN vector_sum 'Their sum, each scaled to length 1.',
    COMMENT COLUMN fourier_sum 'Sum of 64 random Fourier features of them.';

ALTER TABLE predictions COMMENT COLUMN level 'document or session for answers about whole sessions, else empty; no SELECT * shows it.';
