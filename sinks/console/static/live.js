// The live page: server-sent events -> cards, numbers, time line, happenings. Draws on animation frames, only what changed and is in sight.
import { counted, data, element, grouped, ms, percent, sessionUrl } from "./page.js";
import { watch } from "./reading.js";
import { colours, draw, hue, prepare } from "./strata.js";

const begin = data("begin");
const stage = document.getElementById("stage");
const feed = document.getElementById("feed");
const state = {
  sessions: new Map(), cards: new Map(), dirty: new Set(), seen: new Set(), live: begin.field.live, history: begin.history,
  anomalies: begin.anomalies.map(([at, key, id, modality, score, text]) => ({ at, key, id, modality, score, text })),
  gauges: begin.field.gauges, paused: false, filter: "", summed: {}, events: 0, frames: 0, latest: 0,
};
window.strataLive = state; // measured by tests/console
const NAMES = { tokens: "text", chat: "chat", logs: "log", metrics: "series" };
const UNITS = { tokens: "piece", chat: "turn", logs: "line", metrics: "point" };

// 1. cards

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const key = entry.target.dataset.key;
    if (entry.isIntersecting) { state.seen.add(key); state.dirty.add(key); } else state.seen.delete(key);
  }
  wake();
}, { rootMargin: "120px" });

function card(session) {
  const link = element("a", { href: sessionUrl(session.id), class: "name", "data-step": true }, session.id);
  const made = element("article", { class: "card", "data-key": session.key },
    element("header", {}, link, element("span", { class: `kind ${session.modality}` }, NAMES[session.modality]), element("span", { class: "count" }), element("span", { class: "flag" })),
    element("canvas", { "aria-hidden": "true" }), element("p", { class: "tail" }));
  made.dataset.modality = session.modality;
  watcher.observe(made);
  return made;
}

function apply(frame) {
  for (const session of frame.sessions) {
    state.sessions.set(session.key, session);
    state.dirty.add(session.key);
  }
  const wanted = new Set(frame.keys);
  for (const [key, made] of state.cards) {
    if (!wanted.has(key)) { watcher.unobserve(made); made.remove(); state.cards.delete(key); state.sessions.delete(key); state.seen.delete(key); }
  }
  for (const key of frame.keys) {
    if (!state.cards.has(key) && state.sessions.has(key)) {
      const known = stage.querySelector(`[data-key="${CSS.escape(key)}"]`);
      const made = known ?? card(state.sessions.get(key));
      if (known) watcher.observe(known); else stage.append(made);
      state.cards.set(key, made);
    }
  }
  for (const [kind, count] of Object.entries(frame.summed)) state.summed[kind] = (state.summed[kind] || 0) + count;
  document.getElementById("empty").hidden = state.cards.size > 0;
  watch(frame.keys.map((key) => state.sessions.get(key)).filter(Boolean));
  wake();
}

function paint(key) {
  const session = state.sessions.get(key), made = state.cards.get(key);
  if (!session || !made) return;
  draw(made.querySelector("canvas"), session);
  made.querySelector(".count").textContent = counted(session.items, UNITS[session.modality]);
  made.querySelector(".tail").textContent = tail(session);
  const flag = made.querySelector(".flag");
  flag.textContent = session.failures ? `${session.failures} failed` : session.anomalies ? `${session.anomalies} odd` : session.ended ? "complete" : "";
  made.className = `card${session.ended ? " ended" : ""}${session.failures ? " failed" : session.anomalies ? " odd" : ""}`;
}

function tail(session) {
  if (session.modality !== "metrics") return session.tail.slice(-220).trimStart();
  const one = session.series[0];
  if (!one) return "";
  const last = one.points[one.points.length - 1];
  return `${one.name} ${last && last[1] !== null ? grouped(last[1]) : "–"} ${one.unit}${session.n_series > 1 ? `, and ${session.n_series - 1} more series` : ""}`;
}

// 2. what happened

const WORDS = { failure: "failure", anomaly: "anomaly", correction: "corrected", topic: "topic", label: "label", ended: "complete", severity: "log", paragraph: "paragraph", sentence: "sentence" };
const arrived = [];
function happened(told) {
  if (told.kind === "anomaly") {
    state.anomalies.push({ at: told.at, key: told.key, id: told.session_id, modality: told.modality, score: told.score ?? 0, text: told.text });
    if (state.anomalies.length > 600) state.anomalies.shift();
  }
  if (!state.paused && (state.filter === "" || state.filter === told.kind)) arrived.push(told);
  if (arrived.length > 60) arrived.splice(0, arrived.length - 60);
  wake();
}

function list() {
  if (!arrived.length) return;
  const made = arrived.splice(0).reverse().map((told) => element("li", { class: `happening ${told.kind}` },
    element("time", {}, new Date(told.at * 1000).toISOString().slice(11, 19)), element("b", {}, WORDS[told.kind] ?? told.kind),
    element("a", { href: `${sessionUrl(told.session_id)}#item-${told.position}` }, told.session_id),
    element("span", {}, told.text),
    told.kind === "anomaly" || told.kind === "failure" ? element("a", { class: "trace", href: `/traces/${told.trace_id}`, "aria-label": `trace of ${told.session_id}` }, "trace") : null));
  feed.prepend(...made);
  while (feed.children.length > 60) feed.lastChild.remove();
  const rest = Object.entries(state.summed).filter(([, n]) => n);
  document.getElementById("summed").textContent = rest.length ? `Not told one by one: ${rest.map(([k, n]) => `${grouped(n)} ${WORDS[k] ?? k}`).join(", ")}.` : "";
}

// 3. numbers

function set(id, text, kind) {
  const place = document.getElementById(id);
  if (place.textContent !== text) place.textContent = text;
  if (kind !== undefined) place.dataset.state = kind;
}

function numbers() {
  const g = state.gauges;
  set("g-rate", grouped(g.items_per_s));
  set("g-live", grouped(state.live.length));
  set("g-p50", ms(g.latency_ms.p50));
  set("g-p95", ms(g.latency_ms.p95), over(g.latency_ms.p95, g.budget_ms));
  set("g-p99", ms(g.latency_ms.p99), over(g.latency_ms.p99, g.budget_ms));
  set("g-within", g.within_budget === null ? "–" : `${(g.within_budget * 100).toFixed(g.within_budget > 0.99 ? 1 : 0)} %`, g.within_budget !== null && g.within_budget < 0.95 ? "bad" : "good");
  set("g-worker", grouped(g.lag.worker), g.lag.worker > 500 ? "bad" : "good");
  set("g-writer", grouped(g.lag.writer), g.lag.writer > 2000 ? "bad" : "good");
  set("g-failures", grouped(g.failures), g.failures ? "bad" : "good");
  const kinds = {};
  for (const [key] of state.live) { const m = key.slice(0, key.indexOf("/")); kinds[m] = (kinds[m] || 0) + 1; }
  set("g-kinds", Object.entries(kinds).map(([m, n]) => `${n} ${NAMES[m]}`).join(", "));
  document.getElementById("g-skipped").hidden = !g.skipped;
  if (g.skipped) set("g-skipped", `${grouped(g.skipped)} records jumped over: the console was too far behind`);
}
const over = (value, budget) => (value === null || value === undefined ? "" : value > budget ? "bad" : "good");

function spark(id, column, colour, line = null) {
  const canvas = document.getElementById(id);
  if (!canvas) return;
  const [pen, width] = prepare(canvas, 34);
  const values = state.history[column], most = Math.max(1, line ?? 0, ...values.map((v) => v ?? 0));
  pen.fillStyle = colour;
  const wide = width / values.length;
  values.forEach((v, k) => { if (v) { const tall = Math.max((v / most) * 32, 1); pen.fillRect(k * wide, 34 - tall, Math.max(wide - 0.4, 0.6), tall); } });
  if (line !== null) { pen.fillStyle = colours().alarm; pen.fillRect(0, 34 - (line / most) * 32, width, 1); }
}

function timeline() {
  const canvas = document.getElementById("timeline");
  const height = 58;
  const [pen, width] = prepare(canvas, height);
  const c = colours(), span = 600, now = state.gauges.now;
  pen.fillStyle = c.band;
  pen.fillRect(0, 0, width, height - 14);
  pen.font = `11px ${c.sans}`; pen.fillStyle = c.muted; pen.textAlign = "center";
  for (let m = 0; m <= 10; m += 2) {
    const x = width - (m * 60 * width) / span;
    pen.fillStyle = c.gap; pen.fillRect(x - 1, 0, 1, height - 14);
    pen.fillStyle = c.muted;
    pen.textAlign = m === 0 ? "right" : m === 10 ? "left" : "center";
    pen.fillText(m === 0 ? "now" : `${m} min`, x, height - 2);
  }
  pen.textAlign = "left";
  let shown = 0;
  for (const one of state.anomalies) {
    const age = now - one.at;
    if (age > span || age < -2) continue;
    const x = width - (Math.max(age, 0) * width) / span;
    const lane = one.modality === "logs" ? 12 : 32;
    const size = 2 + 5 * Math.min(Math.max(one.score, 0), 1);
    pen.globalAlpha = 0.85;
    pen.fillStyle = one.modality === "logs" ? c.paragraph : c.alarm;
    pen.beginPath(); pen.moveTo(x, lane - size); pen.lineTo(x + size, lane); pen.lineTo(x, lane + size); pen.lineTo(x - size, lane); pen.fill();
    shown++;
  }
  pen.globalAlpha = 1;
  document.getElementById("timeline-said").textContent = shown ? `${counted(shown, "anomaly", "anomalies")} in the last 10 minutes` : "No anomaly in the last 10 minutes";
}

function nearest(event) {
  const canvas = document.getElementById("timeline"), box = canvas.getBoundingClientRect();
  const at = state.gauges.now - ((box.right - event.clientX) * 600) / box.width;
  return state.anomalies.reduce((best, one) => (Math.abs(one.at - at) < Math.abs((best?.at ?? -1e12) - at) && Math.abs(one.at - at) < 12 ? one : best), null);
}
const line = document.getElementById("timeline");
line.addEventListener("mousemove", (event) => { const one = nearest(event); line.title = one ? `${one.id}: ${one.text}` : ""; line.style.cursor = one ? "pointer" : ""; });
line.addEventListener("click", (event) => { const one = nearest(event); if (one) location.href = sessionUrl(one.id); });

// 4. all live sessions, a mark each

function field() {
  const canvas = document.getElementById("field");
  const [, probe] = [0, canvas.clientWidth || 300];
  const size = 11, columns = Math.max(1, Math.floor(probe / size)), rows = Math.max(1, Math.ceil(state.live.length / columns));
  canvas.style.height = `${rows * size}px`;
  const [pen] = prepare(canvas, rows * size);
  const c = colours();
  state.live.forEach(([key, items, kind, , label], n) => {
    pen.fillStyle = kind === "failed" || kind === "anomaly" ? c.alarm : kind === "ended" ? c.bedrock : label ? c.hues[hue(label)] : c.paragraph;
    pen.globalAlpha = kind === "ended" ? 0.5 : 0.35 + 0.65 * Math.min(items / 300, 1);
    pen.fillRect((n % columns) * size, Math.floor(n / columns) * size, size - 2, size - 2);
  });
  pen.globalAlpha = 1;
  const on = state.cards.size;
  document.getElementById("field-said").textContent = `${grouped(state.live.length)} live${state.live.length > on ? `, ${on} of them drawn` : ""}`;
}
const marks = document.getElementById("field");
function marked(event) {
  const box = marks.getBoundingClientRect(), size = 11, columns = Math.max(1, Math.floor(box.width / size));
  return state.live[Math.floor((event.clientY - box.top) / size) * columns + Math.floor((event.clientX - box.left) / size)];
}
marks.addEventListener("mousemove", (event) => { const one = marked(event); marks.title = one ? `${one[0].slice(one[0].indexOf("/") + 1)}, ${one[1]} items${one[4] ? `, ${one[4]}` : ""}` : ""; });
marks.addEventListener("click", (event) => { const one = marked(event); if (one) location.href = sessionUrl(one[0].slice(one[0].indexOf("/") + 1)); });

// 5. the frame: whatever came, drawn once

let awake = false, fieldChanged = true;
function wake() { if (!awake) { awake = true; requestAnimationFrame(frame); } }
function frame() {
  awake = false;
  state.frames++;
  for (const key of state.dirty) if (state.seen.has(key)) paint(key);
  state.dirty.clear();
  list();
  if (fieldChanged) {
    fieldChanged = false;
    numbers();
    spark("s-rate", 1, colours().paragraph);
    spark("s-latency", 3, colours().sentence, state.gauges.budget_ms);
    timeline();
    field();
  }
}

function told(message) {
  state.gauges = message.gauges;
  state.live = message.live;
  state.latest = message.gauges.now;
  message.second.forEach((value, n) => { state.history[n].push(value); if (state.history[n].length > 180) state.history[n].shift(); });
  fieldChanged = true;
  wake();
}

const light = document.getElementById("connection");
function connection(kind, text) { light.dataset.state = kind; light.textContent = text; }

function open() {
  const source = new EventSource("/api/v1/live");
  source.addEventListener("open", () => connection("good", "live"));
  source.addEventListener("error", () => connection("bad", source.readyState === 2 ? "closed: load the page again" : "connection lost, trying again"));
  source.addEventListener("stage", (event) => { state.events++; apply(JSON.parse(event.data)); });
  source.addEventListener("happening", (event) => { state.events++; happened(JSON.parse(event.data)); });
  source.addEventListener("field", (event) => { state.events++; told(JSON.parse(event.data)); });
}

document.getElementById("pause").addEventListener("click", (event) => {
  state.paused = !state.paused;
  event.currentTarget.setAttribute("aria-pressed", String(state.paused));
  event.currentTarget.textContent = state.paused ? "Go on" : "Hold";
});
document.getElementById("kinds").addEventListener("change", (event) => {
  state.filter = event.currentTarget.value;
  for (const item of [...feed.children]) if (state.filter && !item.classList.contains(state.filter)) item.remove();
});
const again = () => { for (const key of state.cards.keys()) state.dirty.add(key); fieldChanged = true; wake(); };
document.addEventListener("theme", again);
addEventListener("resize", again);
document.fonts?.ready.then(again);

arrived.push(...begin.happenings);
apply(begin.stage);
told(begin.field);
open();
