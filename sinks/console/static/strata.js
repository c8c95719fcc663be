// A live session drawn as its strata: the surface (items) on top, deeper and thicker layers below it, the bedrock (the whole) last.
// Takes the snapshot of sinks/console/layers.py; draws on a canvas and keeps nothing.
const SPEAKERS = 4;
const HUES = 10;
const SEVERITY_STEPS = ["s0", "s0", "s1", "s2", "s3", "s4", "s4", "s4"];

export function hue(label) {
  let h = 0;
  for (const c of new TextEncoder().encode(label || "")) h = (Math.imul(h, 31) + c) >>> 0;
  return h % HUES;
}

let ink = null;
export function colours() {
  if (ink) return ink;
  const style = getComputedStyle(document.documentElement);
  const take = (name) => style.getPropertyValue(`--${name}`).trim();
  ink = {
    item: take("item"), sentence: take("sentence"), paragraph: take("paragraph"), topic: take("topic"), bedrock: take("bedrock"),
    onBedrock: take("on-bedrock"), gap: take("panel"), muted: take("muted"), ink: take("ink"), alarm: take("alarm"), late: take("late"),
    band: take("trough"), forecast: take("forecast"), onHue: take("on-hue"), line: take("curve"),
    hues: Array.from({ length: HUES }, (_, n) => take(`h${n}`)),
    speakers: Array.from({ length: SPEAKERS }, (_, n) => take(`sp${n}`)),
    severity: Object.fromEntries(["s0", "s1", "s2", "s3", "s4"].map((s) => [s, take(`sev-${s}`)])),
    sans: take("sans"),
  };
  return ink;
}
document.addEventListener("theme", () => { ink = null; });

export function prepare(canvas, height) {
  const width = canvas.clientWidth || 320;
  const ratio = Math.min(devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width];
}

export const HEIGHT = 92;

export function draw(canvas, session) {
  const [pen, width] = prepare(canvas, HEIGHT);
  if (session.modality === "logs") drawLog(pen, width, session);
  else if (session.modality === "metrics") drawSeries(pen, width, session);
  else drawText(pen, width, session);
  bedrock(pen, width, session);
}

// Where an item stands: the layers fill from the left; a session longer than the card is pressed together, as rock is.
function scale(width, session, natural) {
  const most = natural * session.items;
  if (most <= width) return { x: (p) => p * natural, to: natural * session.items, first: 0 };
  const kept = Math.min(session.items, width * 4);
  const first = session.items - kept;
  return { x: (p) => ((Math.max(p, first) - first) * width) / kept, to: width, first };
}

function trough(pen, y, height, width) {
  pen.fillStyle = colours().band;
  pen.fillRect(0, y, width, height);
}

function drawText(pen, width, session) {
  const c = colours();
  const chat = session.modality === "chat";
  const at = scale(width, session, chat ? 14 : 3);
  const y = { item: 0, sentence: 11, paragraph: 23, topic: 37 };
  trough(pen, y.item, 8, width);
  if (chat) {
    const first = session.items - session.turns.length;
    session.turns.forEach((speaker, n) => {
      const x = at.x(first + n);
      pen.fillStyle = c.speakers[speaker % SPEAKERS];
      pen.fillRect(x, y.item, Math.max(at.x(first + n + 1) - x - 1, 0.8), 8);
    });
    blocks(pen, [0], at, session, y.sentence, 10, c.sentence, width, session.turns.length ? Array.from({ length: session.turns.length }, (_, n) => first + n) : null);
    trough(pen, y.paragraph, 11, width);
    pen.fillStyle = c.paragraph;
    pen.globalAlpha = 0.55;
    pen.fillRect(0, y.paragraph, at.to, 11);
    pen.globalAlpha = 1;
  } else {
    pen.fillStyle = c.item;
    const wide = at.x(at.first + 1) - at.x(at.first);
    if (wide >= 2) for (let p = at.first; p < session.items; p++) pen.fillRect(at.x(p), y.item, wide - 1, 8);
    else pen.fillRect(0, y.item, at.to, 8);
    blocks(pen, session.sentence, at, session, y.sentence, 10, c.sentence, width);
    blocks(pen, session.paragraph, at, session, y.paragraph, 12, c.paragraph, width);
  }
  trough(pen, y.topic, 20, width);
  const starts = [...new Set([0, ...session.topic, ...session.labels.map((l) => l[0])])].sort((a, b) => a - b);
  starts.forEach((start, n) => {
    const end = n + 1 < starts.length ? starts[n + 1] : session.items;
    const label = session.labels.find((l) => l[0] === start);
    const x = at.x(start), wide = at.x(end) - x;
    if (wide <= 0) return;
    pen.fillStyle = label ? c.hues[hue(label[2])] : c.topic;
    pen.globalAlpha = label ? (label[4] ? 1 : 0.62) : 0.45;
    pen.fillRect(x, y.topic, Math.max(wide - 1, 0.8), 20);
    pen.globalAlpha = 1;
    if (label && wide > 26) write(pen, `${label[2]} ${label[3] === null ? "" : Math.round(label[3] * 100)}`, x + 4, y.topic + 14, wide - 8, c.onHue, 11);
    if (label && label[5] > 0) { // its label was corrected: a notch for each time
      pen.fillStyle = c.late;
      for (let k = 0; k < Math.min(label[5], 6); k++) pen.fillRect(x + 1 + k * 5, y.topic + 17, 3, 3);
    }
  });
  pen.fillStyle = c.late; // boundaries seen at a second look
  for (const [position] of session.late) if (position >= at.first) pen.fillRect(at.x(position) - 1, y.sentence - 3, 2, 15);
}

function blocks(pen, given, at, session, y, height, colour, width, every = null) {
  trough(pen, y, height, width);
  pen.fillStyle = colour;
  const starts = every ?? [0, ...given.filter((p) => p > 0)];
  for (let n = 0; n < starts.length; n++) {
    const end = n + 1 < starts.length ? starts[n + 1] : session.items;
    const open = n + 1 === starts.length && !session.ended;
    const x = at.x(starts[n]), wide = at.x(end) - x;
    if (wide <= 0) continue;
    pen.globalAlpha = open ? 0.5 : 1;
    pen.fillRect(x, y, Math.max(wide - 1, 0.6), height);
  }
  pen.globalAlpha = 1;
}

function drawLog(pen, width, session) {
  const c = colours();
  const natural = 3, n = session.lines.length;
  const wide = Math.min(natural, width / Math.max(n, 1));
  trough(pen, 0, 12, width); trough(pen, 15, 16, width); trough(pen, 34, 23, width);
  session.lines.forEach((line, k) => {
    const x = k * wide, w = Math.max(wide - (wide > 2 ? 1 : 0), 0.6);
    if (line[0] !== null) {
      pen.fillStyle = c.severity[SEVERITY_STEPS[line[0]]];
      const tall = 4 + line[0] * 1.15;
      pen.fillRect(x, 12 - tall, w, tall);
    }
    if (line[1] >= 0) { pen.fillStyle = c.hues[line[1] % HUES]; pen.globalAlpha = 0.75; pen.fillRect(x, 15, w, 16); pen.globalAlpha = 1; }
    if (line[2] !== null) {
      pen.fillStyle = line[3] ? c.alarm : c.paragraph;
      pen.globalAlpha = line[3] ? 1 : 0.6;
      const tall = Math.max(line[2] * 23, 0.8);
      pen.fillRect(x, 57 - tall, w, tall);
      pen.globalAlpha = 1;
    }
  });
}

function drawSeries(pen, width, session) {
  const c = colours();
  trough(pen, 0, 57, width);
  const one = session.series[0];
  if (!one || !one.points.length) return;
  const points = one.points, n = points.length;
  const wide = Math.min(4, width / Math.max(n, 1));
  const seen = points.map((p) => p[1]).filter((v) => v !== null);
  if (!seen.length) return;
  let low = Math.min(...seen), high = Math.max(...seen);
  const spread = high - low || Math.abs(high) || 1;
  low -= spread * 0.1; high += spread * 0.1;
  const y = (v) => Math.min(Math.max(46 * (1 - (v - low) / (high - low)), 0), 46);
  pen.fillStyle = c.forecast;
  points.forEach((p, k) => {
    if (p[2] === null || p[3] === null) return;
    const top = y(p[3]), bottom = y(p[2]);
    pen.fillRect(k * wide, top, wide + 0.3, Math.max(bottom - top, 1));
  });
  pen.strokeStyle = c.line; pen.lineWidth = 1.4; pen.lineJoin = "round";
  pen.beginPath();
  let down = false;
  points.forEach((p, k) => {
    if (p[1] === null) { down = false; return; }
    if (down) pen.lineTo(k * wide + wide / 2, y(p[1])); else pen.moveTo(k * wide + wide / 2, y(p[1]));
    down = true;
  });
  pen.stroke();
  points.forEach((p, k) => {
    if (p[4] !== null) { pen.fillStyle = p[5] ? c.alarm : c.paragraph; pen.globalAlpha = p[5] ? 1 : 0.5; const tall = Math.max(p[4] * 9, 0.7); pen.fillRect(k * wide, 57 - tall, Math.max(wide - 0.5, 0.6), tall); pen.globalAlpha = 1; }
    if (p[5] && p[1] !== null) { pen.fillStyle = c.alarm; pen.beginPath(); pen.arc(k * wide + wide / 2, y(p[1]), 3, 0, 7); pen.fill(); }
  });
}

function bedrock(pen, width, session) {
  const c = colours();
  const y = 61, height = HEIGHT - y - 8;
  trough(pen, y, height, width);
  const whole = session.document;
  const text = session.modality === "tokens" || session.modality === "chat";
  pen.fillStyle = c.bedrock;
  pen.globalAlpha = session.ended ? 1 : whole ? 0.72 : 0.3;
  const natural = text ? (session.modality === "chat" ? 14 : 3) : session.modality === "logs" ? 3 : 4;
  pen.fillRect(0, y, Math.min(session.items * natural, width), height);
  pen.globalAlpha = 1;
  if (whole && whole[2]) write(pen, `${whole[2]} ${whole[3] === null ? "" : text ? Math.round(whole[3] * 100) : Number(whole[3]).toFixed(2)}`, 5, y + 16, width - 10, c.onBedrock, 11);
}

function write(pen, text, x, y, width, colour, size) {
  pen.font = `600 ${size}px ${colours().sans}`;
  let shown = text;
  if (pen.measureText(shown).width > width) {
    while (shown.length > 1 && pen.measureText(`${shown}…`).width > width) shown = shown.slice(0, -1);
    if (shown.length < 3) return;
    shown += "…";
  }
  pen.fillStyle = colour;
  pen.fillText(shown, x, y);
}
