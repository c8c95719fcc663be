// One session at reading size: its last words as they come, and under them the sentence, the paragraph, the topic and the whole they become.
// Takes the snapshots of sinks/console/layers.py; draws on a canvas, a few steps for each snapshot so that the text moves as it is read.
import { counted, sessionUrl } from "./page.js";
import { colours, hue, prepare } from "./strata.js";

const HEIGHT = 172, STEPS = 5, STEP_MS = 45, STAY_MS = 6000;
const ROWS = [["words", 0, 34], ["sentences", 40, 18], ["paragraphs", 62, 20], ["topics", 86, 34], ["whole", 124, 40]];
const NAMES = { tokens: "text", chat: "chat" };
const UNITS = { tokens: "piece", chat: "turn" };
const place = document.getElementById("focus");
const canvas = place.querySelector("canvas");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let shown = null, last = 0, shift = 0, step = 0, timer = 0;

// Choose what is read: stay with a session while it speaks, then take the one that speaks now, texts before conversations.
export function watch(sessions) {
  const texts = sessions.filter((s) => s.words?.length);
  const same = texts.find((s) => s.key === shown?.key);
  const now = performance.now();
  if (same && same.items !== shown.items) last = now;
  const speaking = texts.filter((s) => !s.ended).sort((a, b) => (a.modality === "tokens" ? 0 : 1) - (b.modality === "tokens" ? 0 : 1));
  const next = same && (now - last < STAY_MS || !speaking.length) ? same : (speaking[0] ?? same ?? texts[0]);
  place.hidden = !next;
  if (!next) { shown = null; return; }
  if (next.key !== shown?.key) { last = now; head(next); shift = 0; }
  else shift = calm.matches || document.hidden ? 0 : widthOf(next, next.items - shown.items);
  shown = next;
  document.getElementById("focus-said").textContent = said(next);
  clearTimeout(timer);
  step = shift ? 0 : STEPS;
  move();
}

function head(session) {
  const link = document.getElementById("focus-name"), kind = document.getElementById("focus-kind");
  link.textContent = session.id;
  link.href = sessionUrl(session.id);
  kind.textContent = NAMES[session.modality];
  kind.className = `kind ${session.modality}`;
}

function said(session) {
  const deep = ["sentence", "paragraph", "topic"].map((level) => [level, session.counts[level] + 1]).filter(([level, n]) => session.modality !== "chat" || (level === "topic" && n > 1));
  return [counted(session.items, UNITS[session.modality]), ...deep.map(([level, n]) => counted(n, level))].join(", ") + (session.ended ? ", complete" : "");
}

function move() {
  if (!shown || place.hidden) return;
  step++;
  draw(shown, shift * Math.pow(1 - Math.min(step / STEPS, 1), 2));
  if (step < STEPS) timer = setTimeout(move, STEP_MS);
}

const font = (size, weight = 400) => `${weight} ${size}px ${colours().sans}`;
function spread(pen, session) {
  pen.font = font(session.modality === "chat" ? 13 : 15);
  return session.words.map((word) => (session.modality === "chat" ? Math.min(Math.max(pen.measureText(word).width + 18, 70), 260) : pen.measureText(word || " ").width + 8));
}
function widthOf(session, items) {
  return items > 0 ? spread(canvas.getContext("2d"), session).slice(-items).reduce((a, b) => a + b, 0) : 0;
}

function draw(session, moved) {
  const [pen, width] = prepare(canvas, HEIGHT);
  const c = colours(), narrow = width < 520, left = narrow ? 0 : 84, right = width - (session.ended ? 0 : narrow ? 16 : 44);
  const wide = spread(pen, session), total = wide.reduce((a, b) => a + b, 0);
  // 1. where each item stands: the newest at the right, unless all of it fits
  const first = session.items - session.words.length;
  const begin = (total <= right - left ? left : right - total) + moved;
  const edges = [begin];
  for (const w of wide) edges.push(edges.at(-1) + w);
  const x = (position) => Math.min(Math.max(edges[Math.min(Math.max(position - first, 0), wide.length)], left), width);
  const whole = (position) => (position <= first ? left : x(position)); // what began before is cut off at the left edge
  // 2. the layers' beds and names
  for (const [name, y, tall] of ROWS) {
    pen.fillStyle = c.band;
    if (name !== "words") pen.fillRect(left, y, width - left, tall);
    if (narrow) continue;
    pen.font = font(12); pen.fillStyle = c.muted; pen.textAlign = "right";
    pen.fillText(name === "whole" ? "the whole" : name === "words" && session.modality === "chat" ? "turns" : name, left - 12, y + tall / 2 + 4);
    pen.textAlign = "left";
  }
  pen.save();
  pen.beginPath(); pen.rect(left, 0, width - left, HEIGHT); pen.clip();
  // 3. words
  session.words.forEach((word, n) => {
    const at = edges[n], w = wide[n];
    if (at + w < left) return;
    pen.fillStyle = session.modality === "chat" ? c.speakers[session.turns[session.turns.length - session.words.length + n] % c.speakers.length] : c.item;
    pen.fillRect(at + 1, 29, w - 2, 5);
    pen.font = font(session.modality === "chat" ? 13 : 15); pen.fillStyle = c.ink;
    pen.globalAlpha = n === session.words.length - 1 && step < STEPS ? step / STEPS : 1;
    pen.fillText(fit(pen, word, w - 6), at + 3, 20);
    pen.globalAlpha = 1;
  });
  const end = x(session.items);
  // 4. sentences and paragraphs, the open one pale
  const chat = session.modality === "chat";
  segments(pen, chat ? session.words.map((_, n) => first + n) : session.sentence, ROWS[1], c.sentence, session, whole, end, first);
  segments(pen, chat ? [] : session.paragraph, ROWS[2], c.paragraph, session, whole, end, first);
  // 5. topics with their label, or none yet
  const starts = [...new Set([0, ...session.topic, ...session.labels.map((l) => l[0])])].sort((a, b) => a - b);
  starts.forEach((start, n) => {
    const to = n + 1 < starts.length ? starts[n + 1] : session.items;
    if (to <= first) return;
    const label = session.labels.find((l) => l[0] === start), from = whole(start), until = n + 1 < starts.length ? x(to) : end;
    pen.fillStyle = label ? c.hues[hue(label[2])] : c.topic;
    pen.globalAlpha = label ? (label[4] ? 1 : 0.72) : 0.4;
    pen.fillRect(from, ROWS[3][1], Math.max(until - from - 1, 1), ROWS[3][2]);
    pen.globalAlpha = 1;
    if (label) text(pen, label[2], label[3] === null ? "" : `${Math.round(label[3] * 100)} %${label[4] ? "" : ", so far"}`, from, until, ROWS[3][1] + 22, c.onHue);
    else text(pen, "", "not named yet", from, until, ROWS[3][1] + 22, c.onHue);
    if (label && label[5] > 0) { pen.fillStyle = c.late; for (let k = 0; k < Math.min(label[5], 8); k++) pen.fillRect(from + 4 + k * 7, ROWS[3][1] + 29, 5, 3); }
  });
  // 6. the whole
  const [, y, tall] = ROWS[4], named = session.document;
  pen.fillStyle = c.bedrock; pen.globalAlpha = session.ended ? 1 : named ? 0.72 : 0.3;
  pen.fillRect(left, y, end - left, tall);
  pen.globalAlpha = 1;
  if (named?.[2]) text(pen, named[2], named[3] === null ? "" : `${Math.round(named[3] * 100)} %${session.ended ? "" : ", so far"}`, left, end, y + 25, c.onBedrock);
  // 7. boundaries that were seen only at a second look
  for (const [position, later] of session.late) {
    if (position < first) continue;
    pen.fillStyle = c.late;
    pen.fillRect(x(position) - 1, 36, 2, 46);
    pen.font = font(10, 600); pen.fillStyle = c.ink;
    if (end - x(position) > 46) pen.fillText(`+${later}`, x(position) + 4, 54);
  }
  pen.restore();
}

function segments(pen, starts, [, y, tall], colour, session, whole, end, first) {
  const all = [0, ...starts.filter((p) => p > 0)];
  pen.fillStyle = colour;
  all.forEach((start, n) => {
    const next = all[n + 1];
    if (next !== undefined && next <= first) return;
    const from = whole(start), until = next === undefined ? end : whole(next);
    pen.globalAlpha = next === undefined && !session.ended ? 0.5 : 1;
    pen.fillRect(from, y, Math.max(until - from - 1.5, 0.8), tall);
  });
  pen.globalAlpha = 1;
}

function fit(pen, word, room) {
  if (pen.measureText(word).width <= room) return word;
  let cut = word;
  while (cut.length > 1 && pen.measureText(`${cut}…`).width > room) cut = cut.slice(0, -1);
  return `${cut}…`;
}

// bold name and plain figure, kept in sight where the block is wider than the page
function text(pen, name, figure, from, until, y, colour) {
  const room = until - from - 16;
  if (room < 24) return;
  pen.fillStyle = colour;
  pen.font = font(14, 600);
  const shownName = name ? fit(pen, name, room) : "", took = name ? pen.measureText(`${shownName} `).width + 2 : 0;
  pen.fillText(shownName, from + 8, y);
  pen.font = font(13);
  if (figure && pen.measureText(figure).width < room - took) pen.fillText(figure, from + 8 + took, y);
}

document.addEventListener("theme", () => { if (shown) draw(shown, 0); });
addEventListener("resize", () => { if (shown) draw(shown, 0); });
document.fonts?.ready.then(() => { if (shown) draw(shown, 0); });
