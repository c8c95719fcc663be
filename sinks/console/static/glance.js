// The tiles above the evaluation: one sentence each, summed up over the rows of a question's answer. Takes rows; touches no page.
const sum = (rows, of) => rows.reduce((total, row) => total + (of(row) ?? 0), 0);
const finals = (rows) => rows.filter((r) => r.final === undefined || r.final === 1 || r.final === true);
const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.0995 ? 1 : 0)} %`;
const count = (n) => Math.round(n).toLocaleString("en");

// question -> [figure, what it is, good or bad or nothing]
export const TILES = {
  quality(rows) {
    const judged = sum(finals(rows), (r) => r.judged), answers = sum(finals(rows), (r) => r.answers);
    if (!judged) return ["–", `no label yet for ${count(answers)} answers`, ""];
    return [percent(sum(finals(rows), (r) => r.correct) / judged), `of ${count(judged)} answers with a label`, ""];
  },
  calibration(rows) {
    const judged = sum(finals(rows), (r) => r.judged);
    if (!judged) return ["–", "no label yet", ""];
    const off = sum(finals(rows), (r) => r.judged * r.ece) / judged;
    return [(100 * off).toFixed(1), "points between said and right, on average", off > 0.1 ? "bad" : "good"];
  },
  stability(rows) {
    const spans = sum(rows, (r) => r.spans);
    if (!spans) return ["–", "no answer had a partial one", ""];
    return [(sum(rows, (r) => r.spans * r.flips_per_span) / spans).toFixed(2), `changes of the label a span, of ${count(spans)}`, ""];
  },
  latency(rows) {
    const answers = sum(rows, (r) => r.answers);
    if (!answers) return ["–", "no answer", ""];
    const late = sum(rows, (r) => r.answers * r.over_200) / answers;
    return [percent(1 - late), `of ${count(answers)} answers within 200 ms`, late > 0.01 ? "bad" : "good"];
  },
  drift(rows) {
    if (!rows.length) return ["–", "nothing to compare yet", ""];
    const moved = sum(rows, (r) => Number(r.is_alarm));
    return [count(moved), `of ${count(rows.length)} features moved`, moved ? "bad" : "good"];
  },
  failures(rows) {
    const failed = sum(rows, (r) => r.failures);
    return [count(failed), failed ? `failures, ${count(sum(rows, (r) => r.recovered))} recovered` : "failures", failed ? "bad" : "good"];
  },
};
