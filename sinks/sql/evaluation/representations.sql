-- Have the representations of text moved?
-- Title: Drift of representations
-- Place: Drift 2
-- Columns:
--   modality: tokens, logs, chat or metrics
--   state_type: token, sentence, paragraph, topic or document
--   reference_n: sampled representations in the reference window
--   current_n: in the window compared with it
--   cosine_distance: of the two centroids; 0 is the same direction
--   centroid_shift: distance of the centroids, of vectors of length 1
--   mmd: maximum mean discrepancy, Gaussian kernel of width 0.5, by 64 random Fourier features
--   mmd_noise: about what it is without any drift, from the counts alone
WITH
    (SELECT if({split:DateTime('UTC')} > toDateTime(0, 'UTC'), {split:DateTime('UTC')}, toStartOfHour(toDateTime(intDiv(toUInt64(toUnixTimestamp(first)) + toUInt64(toUnixTimestamp(last)) + 3600, 2), 'UTC')))
        FROM (SELECT min(hour) AS first, max(hour) AS last FROM hourly_answers WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')})) AS cut
SELECT
    modality, state_type, r AS reference_n, c AS current_n,
    cosineDistance(arrayMap(x -> x / r, r_vector), arrayMap(x -> x / c, c_vector)) AS cosine_distance,
    L2Distance(arrayMap(x -> x / r, r_vector), arrayMap(x -> x / c, c_vector)) AS centroid_shift,
    L2Distance(arrayMap(x -> x / r, r_fourier), arrayMap(x -> x / c, c_fourier)) AS mmd,
    sqrt(1 / r + 1 / c) AS mmd_noise
FROM
(
    SELECT
        modality, state_type, dimensions,
        sumIf(states, is_old) AS r, sumIf(states, is_new) AS c,
        sumForEachIf(vector_sum, is_old) AS r_vector, sumForEachIf(vector_sum, is_new) AS c_vector,
        sumForEachIf(fourier_sum, is_old) AS r_fourier, sumForEachIf(fourier_sum, is_new) AS c_fourier
    FROM (SELECT *, if({reference:String} = '', hour < cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version = {reference:String}) AS is_old, if({reference:String} = '', hour >= cut AND ({model_version:String} = '' OR model_version = {model_version:String}), model_version != {reference:String} AND ({model_version:String} = '' OR model_version = {model_version:String})) AS is_new FROM hourly_states WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND ({modality:String} = '' OR modality = {modality:String}))
    GROUP BY modality, state_type, dimensions
    HAVING r > 0 AND c > 0
)
ORDER BY mmd DESC, modality, state_type
