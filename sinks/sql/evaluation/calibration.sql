-- Is the model as sure as it is right, in partial and in final answers?
-- Title: Calibration
-- Place: Calibration 1
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   level: document or session for answers about whole sessions
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   final: 1 for final answers, 0 for partial ones
--   judged: labelled answers with a confidence
--   accuracy: share of them that is right
--   confidence: their mean confidence
--   ece: expected calibration error, bins of equal width
--   ece_low: lower end of its 95 % interval (50 bootstrap samples; empty by age)
--   ece_high: upper end
--   ece_mass: the same with bins of about as many answers
--   mce: largest gap of a bin of equal width with 10 answers or more
--   brier: mean squared distance of confidence and being right
--   nll: mean negative log-likelihood of being right, nats
--   bins: how many bins
WITH
    (a, b, c, d) -> sqrt(-2 * log((sipHash64(a, b, c, d, 1) % 1000003 + 1) / 1000004)) * cos(2 * pi() * (sipHash64(a, b, c, d, 2) % 1000003) / 1000003) AS normal,
    (n, z) -> greatest(0, pow(greatest(0, sqrt(n + 0.375) + z / 2), 2) - 0.375) AS drawn
SELECT
    model_version, modality, task, level, if({by:String} = 'age', tenth, NULL) AS age, final, sure AS judged, sure_correct / sure AS accuracy, told / sure AS confidence,
    ece, ece_low, ece_high, ece_mass, mce, brier_sum / sure AS brier, nll_sum / sure AS nll, {bins:UInt32} AS bins
FROM
(
    SELECT
        model_version, modality, task, level, final, tenth,
        anyIf(gap / total, sample = 0 AND way = 'width') AS ece,
        if({by:String} = 'age', NULL, quantileExactIf(0.025)(gap / total, sample > 0)) AS ece_low, if({by:String} = 'age', NULL, quantileExactIf(0.975)(gap / total, sample > 0)) AS ece_high,
        anyIf(gap / total, way = 'mass') AS ece_mass, anyIf(largest, sample = 0 AND way = 'width') AS mce
    FROM
    (
        SELECT model_version, modality, task, level, final, tenth, way, sample, sum(abs(k - c)) AS gap, sum(n) AS total, maxIf(abs(k - c) / n, n >= 10) AS largest
        FROM
        (
            SELECT model_version, modality, task, level, final, tenth, way, sample, coarse, sum(right) AS k, sum(right + wrong) AS n, sum((right + wrong) * confidence_sum / answers) AS c
            FROM
            (
                SELECT
                    model_version, modality, task, level, final, tenth, bin, answers, confidence_sum, way, sample,
                    toInt64(if(way = 'width', toInt64(intDiv(bin * {bins:UInt32}, 200)), toInt64(least({bins:UInt32} - 1, intDiv({bins:UInt32} * (2 * before - answers), 2 * everything))))) AS coarse,
                    if(sample = 0, toFloat64(correct), drawn(correct, normal(task, bin, sample, 3))) AS right,
                    if(sample = 0, toFloat64(answers - correct), drawn(answers - correct, normal(task, bin, sample, 4))) AS wrong
                FROM
                (
                    SELECT
                        *, sum(answers) OVER (PARTITION BY model_version, modality, task, level, final, tenth ORDER BY bin) AS before, sum(answers) OVER (PARTITION BY model_version, modality, task, level, final, tenth) AS everything,
                        arrayJoin(arrayConcat([('mass', 0)], arrayMap(s -> ('width', s), range(if({by:String} = 'age', 1, 51))))) AS variant, variant.1 AS way, variant.2 AS sample
                    FROM
                    (
        SELECT
            model_version, modality, task, level, prediction_type = 'final' AS final, if({by:String} = 'age', age, 0) AS tenth, bin,
            sum(h.answers) AS answers, sum(h.correct) AS correct, sum(h.confidence_sum) AS confidence_sum
        FROM hourly_reliability AS h
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND ({model_version:String} = '' OR model_version = {model_version:String})
            AND ({modality:String} = '' OR modality = {modality:String})
            AND ({task:String} = '' OR task = {task:String})
        GROUP BY model_version, modality, task, level, final, tenth, bin
                    )
                )
            )
            GROUP BY model_version, modality, task, level, final, tenth, way, sample, coarse
        )
        GROUP BY model_version, modality, task, level, final, tenth, way, sample
    )
    GROUP BY model_version, modality, task, level, final, tenth
) AS binned
INNER JOIN
(
    SELECT
        model_version, modality, task, level, prediction_type = 'final' AS final, if({by:String} = 'age', age, 0) AS tenth,
        sum(h.sure) AS sure, sum(h.sure_correct) AS sure_correct, sum(h.confidence_sum) AS told, sum(h.brier_sum) AS brier_sum, sum(h.nll_sum) AS nll_sum
    FROM hourly_quality AS h
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY model_version, modality, task, level, final, tenth
    HAVING sure > 0
) AS scored USING (model_version, modality, task, level, final, tenth)
ORDER BY final DESC, model_version, modality, task, level, age
