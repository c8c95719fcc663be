-- Sampled representations: sums, and sums of random Fourier features.
-- Reads: model_state
-- The features' directions are normal numbers computed from hashes (Box and Muller 1958), the same in every hour and on every machine.
INSERT INTO built_states
WITH
    (f, i) -> sqrt(-2 * log((sipHash64(f, i, 1) % 1000003 + 1) / 1000004)) * cos(2 * pi() * (sipHash64(f, i, 2) % 1000003) / 1000003) AS normal,
    (SELECT max(length(representation)) FROM model_state WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))}) AS most,
    arrayMap(f -> arrayMap(i -> toFloat32(2 * normal(f, i)), range(toUInt64(ifNull(most, 0)))), range(toUInt64(64))) AS directions,
    arrayMap(f -> 2 * pi() * (sipHash64(f, 3) % 1000003) / 1000003, range(toUInt64(64))) AS phases
SELECT
    toStartOfHour(timestamp) AS hour, {build:UInt64} AS build, model_version, modality, state_type, length(unit) AS dimensions,
    count() AS states,
    sumForEach(arrayMap(x -> toFloat64(x), unit)) AS vector_sum,
    sumForEach(arrayMap((direction, phase) -> sqrt(2 / 64) * cos(arrayDotProduct(arrayResize(direction, length(unit)), unit) + phase), directions, phases)) AS fourier_sum
FROM
(
    SELECT *, arrayMap(x -> toFloat32(x / norm), representation) AS unit
    FROM (SELECT *, L2Norm(representation) AS norm FROM model_state WHERE timestamp >= {first:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})
    WHERE norm > 0 AND isFinite(norm)
)
GROUP BY hour, model_version, modality, state_type, dimensions
