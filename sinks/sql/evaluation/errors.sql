-- How far off are the values that were told, once the true ones are known?
-- Title: Errors of values
-- Place: Quality 4
-- Columns:
--   model_version: version of the model
--   modality: tokens, logs, chat or metrics
--   task: task of the answers
--   at: hour or day; empty unless asked by one
--   age: tenth of the session, 0 to 9; empty unless asked by it
--   final: 1 for final answers, 0 for partial ones
--   valued: answers whose true value has come
--   bias: mean of told minus true
--   mean_absolute: mean distance
--   root_mean_square: square root of the mean squared distance
--   mean_absolute_low: lower end of its 95 % interval (normal)
--   mean_absolute_high: upper end
SELECT
    model_version, modality, task,
    if({by:String} IN ('hour', 'day'), moment, NULL) AS at,
    if({by:String} = 'age', tenth, NULL) AS age,
    final, n AS valued, e / n AS bias, a / n AS mean_absolute, sqrt(s / n) AS root_mean_square,
    greatest(0, a / n - 1.95996398 * sqrt(greatest(0, s / n - pow(a / n, 2)) / n)) AS mean_absolute_low,
    a / n + 1.95996398 * sqrt(greatest(0, s / n - pow(a / n, 2)) / n) AS mean_absolute_high
FROM
(
    SELECT
        model_version, modality, task, prediction_type = 'final' AS final, if({by:String} = 'hour', hour, if({by:String} = 'day', toDateTime(toStartOfDay(hour), 'UTC'), toDateTime(0, 'UTC'))) AS moment, if({by:String} = 'age', age, 0) AS tenth,
        sum(valued) AS n, sum(error_sum) AS e, sum(absolute_error_sum) AS a, sum(squared_error_sum) AS s
    FROM hourly_quality
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND ({model_version:String} = '' OR model_version = {model_version:String})
        AND ({modality:String} = '' OR modality = {modality:String})
        AND ({task:String} = '' OR task = {task:String})
    GROUP BY model_version, modality, task, final, moment, tenth
    HAVING n > 0
)
ORDER BY final DESC, model_version, modality, task, at, age
