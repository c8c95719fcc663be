// Evaluation: each question is asked when it comes near the screen, drawn, and linked to the others: one cursor over all lines, and a row's
// version, kind or task is a filter for the whole page.
import { TILES } from "./glance.js";
import { data, element } from "./page.js";
import { colours, hue } from "./strata.js";

const given = data("begin");
const LINKED = { model_version: "model_version", modality: "modality", task: "task" };
const drawn = new Map();
const SVG = "http://www.w3.org/2000/svg";

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); queue.unshift(entry.target); next(); }
}, { rootMargin: "400px" });
const queue = [];
let running = 0;
function next() {
  while (running < 3 && queue.length) { running++; ask(queue.shift()).finally(() => { running--; next(); }); }
}

async function ask(place) {
  if (place.dataset.asked) return;
  place.dataset.asked = "yes";
  const chosen = new URLSearchParams(Object.entries(given).filter(([, v]) => v));
  const said = place.querySelector("[data-said]");
  try {
    const answer = await fetch(`/api/v1/evaluation/questions/${place.dataset.question}?${chosen}`);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail || `the console answered ${answer.status}`);
    place.querySelector("pre").textContent = told.sql;
    const rows = told.rows.length ? `${told.rows.length} row${told.rows.length === 1 ? "" : "s"}` : "";
    said.textContent = given.by && told.values.by && told.values.by !== given.by ? `${rows}, not by ${given.by}` : rows;
    drawn.set(place, told);
    glance(place.dataset.question, told);
    show(place, told);
  } catch (problem) {
    place.querySelector("[data-chart]").replaceChildren(element("p", { class: "bad small" }, problem.message));
  }
  place.removeAttribute("aria-busy");
}

function glance(name, told) {
  const tile = document.querySelector(`[data-glance="${name}"]`);
  if (!tile) return;
  const [figure, about, kind] = TILES[name](told.rows);
  tile.querySelector(".big").textContent = figure;
  tile.querySelector(".big").dataset.state = kind;
  tile.querySelector(".part").textContent = about;
}

// the figure that is drawn, in words
function named(told) {
  const { figure: f, low, kind } = told.chart, meaning = told.columns.find((c) => c.name === f)?.meaning;
  if (kind === "table" || !meaning) return "";
  return `${f.replaceAll("_", " ")}: ${meaning}${low && kind === "dots" ? "; the bar is its 95 % interval" : ""}`;
}

function show(place, told) {
  const room = place.querySelector("[data-chart]");
  room.replaceChildren();
  table(place.querySelector("[data-table] .scroll"), told);
  place.querySelector("[data-figure]").textContent = told.rows.length ? named(told) : "";
  const usable = told.rows.filter((r) => told.chart.kind === "table" || (r[told.chart.figure] !== null && r[told.chart.figure] !== undefined));
  if (!told.rows.length) room.append(element("p", { class: "muted small" }, told.when_empty));
  else if (told.chart.kind === "table" || !usable.length) { if (told.chart.kind === "table") place.querySelector("[data-table]").open = true; else room.append(element("p", { class: "muted small" }, told.when_empty)); }
  else if (told.chart.kind === "line" && (told.chart.x !== "at" || new Set(usable.map((r) => r.at)).size > 1)) lines(room, told, usable);
  else if (told.chart.kind === "diagonal") diagonal(room, told, usable);
  else dots(room, told, usable);
}

const keyed = (row, chart) => chart.keys.map((k) => (k === "final" ? (row[k] ? "" : "partial") : row[k])).filter((v) => v !== "" && v !== null && v !== undefined).join(" · ");
// what all rows share is not said in each
function names(rows, chart) {
  const differing = { ...chart, keys: chart.keys.filter((k) => new Set(rows.map((r) => r[k])).size > 1) };
  return (row) => keyed(row, differing) || (differing.keys.length ? "final" : keyed(row, chart));
}
export function figure(value, name = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_ms")) return value >= 1000 ? `${(value / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} s` : `${value.toLocaleString("en", { maximumFractionDigits: 1 })} ms`;
  return Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) >= 100 ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

const shareOr = (told, value) => (told.chart.is_share && typeof value === "number" ? `${(100 * value).toLocaleString("en", { maximumFractionDigits: 1 })} %` : figure(value, told.chart.figure));

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
  if (text !== undefined) made.textContent = text;
  return made;
}

// a row each: name, interval, figure
function dots(room, told, rows) {
  const { figure: f, low, high } = told.chart, name = names(rows, told.chart);
  const shown = rows.slice(0, 24);
  const ends = shown.flatMap((r) => [r[f], low && r[low], high && r[high]]).filter((v) => typeof v === "number");
  const most = told.chart.is_share ? 1 : Math.max(...ends, 1e-9), least = Math.min(0, ...ends);
  const x = (v) => (100 * (v - least)) / (most - least || 1);
  for (const row of shown) {
    const line = svg("svg", { class: "dotline", width: "100%", height: 14 });
    line.append(svg("line", { class: "axis", x1: "0", x2: "100%", y1: 7, y2: 7 }));
    if (low || high) line.append(svg("line", { class: "interval", x1: `${x((low && row[low]) ?? row[f])}%`, x2: `${x((high && row[high]) ?? row[f])}%`, y1: 7, y2: 7 }));
    line.append(svg("circle", { class: "dot", cx: `${Math.min(Math.max(x(row[f]), 0.8), 99.2)}%`, cy: 7, r: 4.5 }));
    const interval = low && typeof row[low] === "number" ? ` (${shareOr(told, row[low])} to ${shareOr(told, row[high])})` : "";
    room.append(element("div", { class: "dotrow", title: `${keyed(row, told.chart)}: ${shareOr(told, row[f])}${interval}` }, element("span", { class: "of" }, name(row)), line, element("b", {}, shareOr(told, row[f]))));
  }
  if (rows.length > shown.length) room.append(element("p", { class: "small muted" }, `and ${rows.length - shown.length} more in the rows below`));
}

function series(told, rows, xOf) {
  const { figure: f, low, high } = told.chart, name = names(rows, told.chart);
  const xs = [...new Set(rows.map(xOf))].sort((a, b) => a - b), at = new Map(xs.map((x, n) => [x, n]));
  const groups = new Map();
  for (const row of rows) {
    const key = name(row);
    if (!groups.has(key)) groups.set(key, { key, y: xs.map(() => null), low: xs.map(() => null), high: xs.map(() => null), n: 0 });
    const g = groups.get(key), k = at.get(xOf(row));
    g.y[k] = row[f]; g.low[k] = low ? row[low] : null; g.high[k] = high ? row[high] : null; g.n++;
  }
  return [xs, [...groups.values()].sort((a, b) => b.n - a.n).slice(0, 8)];
}

function options(room, told, labels, scales, axes) {
  const c = colours();
  const axis = (more) => ({ stroke: c.muted, grid: { stroke: c.band, width: 1 }, ticks: { stroke: c.band }, font: `11px ${c.sans}`, ...more });
  return {
    width: Math.max(room.clientWidth, 240), height: 200, cursor: { sync: { key: "evaluation", setSeries: false }, points: { size: 6 } }, scales,
    legend: { live: true }, series: [{ label: "\u00a0", value: (u, v) => (v === null ? "" : X[told.chart.x]?.(v) ?? v) }, ...labels],
    axes: [axis(axes.x), axis({ size: 58, values: (u, values) => values.map((v) => shareOr(told, v)), ...axes.y })],
  };
}

const X = { at: (v) => new Date(v * 1000).toISOString().slice(0, 16).replace("T", " "), tenth: (v) => `${10 * v} to ${10 * v + 10} % of the span read`, age: (v) => `${10 * v} to ${10 * v + 10} % of the session` };
const TENTHS = ["tenth", "age"];

function lines(room, told, rows) {
  const c = colours(), isTime = told.chart.x === "at";
  const xOf = (r) => (isTime ? Date.parse(`${String(r.at).replace(" ", "T")}Z`) / 1000 : Number(r[told.chart.x]));
  const [xs, groups] = series(told, rows.filter((r) => r[told.chart.x] !== null), xOf);
  if (!xs.length) { room.append(element("p", { class: "muted small" }, "Nothing to tell by this.")); return; }
  const labels = [], columns = [xs], bands = [];
  for (const g of groups) {
    const colour = c.hues[hue(g.key)];
    columns.push(g.y);
    labels.push({ label: g.key || told.chart.figure, stroke: colour, width: 2, points: { show: xs.length < 40, size: 5 }, spanGaps: true, value: (u, v) => (v === null || v === undefined ? "" : shareOr(told, v)) });
    if (told.chart.low && told.chart.high && groups.length <= 3) {
      columns.push(g.high, g.low);
      const edge = { show: true, stroke: "transparent", width: 0, points: { show: false }, label: "", value: () => "" };
      bands.push({ series: [labels.length + 1, labels.length + 2], fill: `${colour}22` });
      labels.push({ ...edge, class: "edge" }, { ...edge, class: "edge" });
    }
  }
  const made = new uPlot({ ...options(room, told, labels, { x: { time: isTime } }, { x: isTime ? {} : { values: (u, v) => v.map((n) => (!Number.isInteger(n) ? "" : TENTHS.includes(told.chart.x) ? `${10 * n}%` : n)) }, y: {} }), bands }, columns, room);
  for (const edge of made.root.querySelectorAll(".u-series.edge")) edge.hidden = true;
}

function diagonal(room, told, rows) {
  const c = colours(), width = Math.max(room.clientWidth, 240), height = 230, left = 40, bottom = 26;
  const x = (v) => left + v * (width - left - 10), y = (v) => 8 + (1 - v) * (height - bottom - 8);
  const made = svg("svg", { class: "diagonal", width: "100%", height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "how often answers of a confidence are right" });
  for (const t of [0, 0.25, 0.5, 0.75, 1]) made.append(svg("line", { class: "grid", x1: left, x2: width - 10, y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, `${t * 100}%`), svg("text", { x: x(t), y: height - 8, "text-anchor": "middle" }, `${t * 100}%`));
  made.append(svg("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  const name = names(rows.filter((r) => r.final === 1 || r.final === true), told.chart), most = Math.max(...rows.map((r) => r.answers ?? 1));
  for (const row of rows.filter((r) => (r.final === 1 || r.final === true) && (!r.binning || r.binning === rows[0].binning))) {
    const px = x(row.confidence), colour = `h${hue(name(row))}`;
    if (typeof row.accuracy_low === "number") made.append(svg("line", { class: `whisker ${colour}`, x1: px, x2: px, y1: y(row.accuracy_low), y2: y(row.accuracy_high) }));
    const dot = svg("circle", { class: `point ${colour}`, cx: px, cy: y(row.accuracy), r: 2.5 + 5 * Math.sqrt((row.answers ?? 1) / most) });
    dot.append(svg("title", {}, `${name(row)}: ${row.answers} answers, said ${figure(row.confidence)}, right ${figure(row.accuracy)}`));
    made.append(dot);
  }
  room.append(made, element("p", { class: "small muted" }, "Across: how sure. Up: how often right. On the line they agree."));
}

function table(room, told) {
  const columns = told.columns.map((c) => c.name).filter((name) => told.rows.some((r) => r[name] !== null && r[name] !== ""));
  const meaning = Object.fromEntries(told.columns.map((c) => [c.name, c.meaning]));
  const head = element("tr", {}, ...columns.map((c) => element("th", { title: meaning[c], class: typeof told.rows[0]?.[c] === "number" ? "n" : "" }, c.replaceAll("_", " "))));
  const body = told.rows.slice(0, 300).map((row) => element("tr", {}, ...columns.map((c) => {
    const value = Array.isArray(row[c]) ? row[c].join(", ") : figure(row[c], c);
    if (LINKED[c] && row[c] && row[c] !== given[c]) return element("td", {}, element("a", { href: linked(c, row[c]), title: "only this" }, value));
    return element("td", { class: typeof row[c] === "number" ? "n" : /^\d{4}-\d\d-\d\d /.test(value) ? "when" : "" }, value);
  })));
  room.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}
function linked(name, value) { const chosen = new URLSearchParams(location.search); chosen.set(name, value); return `?${chosen}`; }

for (const select of document.querySelectorAll("#filters select")) select.addEventListener("change", () => select.form.requestSubmit());
for (const tile of document.querySelectorAll("[data-glance]")) { const place = document.getElementById(`q-${tile.dataset.glance}`); if (place) queue.push(place); } // before what is far below
document.fonts.ready.then(() => { next(); for (const place of document.querySelectorAll("[data-question]")) if (!place.dataset.asked) watcher.observe(place); });
let waiting = 0;
const again = () => { clearTimeout(waiting); waiting = setTimeout(() => { for (const [place, told] of drawn) show(place, told); }, 150); };
document.addEventListener("theme", again);
addEventListener("resize", again);
