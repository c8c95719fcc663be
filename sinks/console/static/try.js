// Try it: what is typed goes to the input topics, and the session's own live view draws it while it is read.
import { counted, data, element, icon, percent, say, send, sessionUrl, grouped } from "./page.js";
import { draw, hue } from "./strata.js";

const UNITS = { tokens: "piece", chat: "turn", logs: "line", metrics: "point" };
const HINTS = {
  text: "Any text. It is cut into words and sent one by one.",
  chat: "One turn a line, as `speaker: text`.",
  log: "One line an entry, in any format.",
  series: "CSV: an optional head, an optional first column of times, a column for each series.",
};
const SAMPLES = {
  text: "Patient: I have had this cough for two weeks now. It is worse at night, and I was up with a fever yesterday.\n\nDoctor: Any chest pain, or trouble breathing? I will listen to your lungs first.\n\nThe lungs are clear on both sides. There is no wheezing. Heart rate is regular.\n\nFor the cough we will start an inhaler, two puffs in the morning. Come back in ten days if the fever returns.\n",
  chat: "customer: Hi, I need a table for four tonight at seven.\nagent: Sure. Which city, and what would you like to eat?\ncustomer: San Jose, something Italian please.\nagent: Trattoria Nonna has a table at seven. Shall I book it?\ncustomer: Yes, thank you. I also need a flight to Denver tomorrow morning.\nagent: There is one at 7:40 for 129 dollars, nonstop.\ncustomer: Perfect, book one seat in economy.\nagent: Both are booked. Have a good evening.\n",
  log: Array.from({ length: 40 }, (_, n) => n === 30 ? "2026-01-31T12:00:30Z ERROR db pool exhausted: 50 of 50 connections in use, request 8812 timed out after 30000 ms" : `2026-01-31T12:00:${String(n % 60).padStart(2, "0")}Z INFO request ${8700 + n} GET /orders/${100 + n * 7} 200 in ${12 + ((n * 5) % 9)} ms`).join("\n") + "\n",
  series: "cpu\n" + Array.from({ length: 160 }, (_, n) => (n === 120 ? 97 : 40 + 12 * Math.sin(n / 8) + ((n * 7) % 5)).toFixed(2)).join("\n") + "\n",
};
const form = document.getElementById("try"), box = document.getElementById("content");
const kind = () => form.elements.kind.value;
let source = null, session = null, awake = false;
const known = new Map();

function hint() { document.getElementById("hint").textContent = HINTS[kind()]; box.classList.toggle("mono-area", kind() === "log" || kind() === "series"); }
for (const one of form.elements.kind) one.addEventListener("change", () => { hint(); if (Object.values(SAMPLES).includes(box.value)) box.value = SAMPLES[kind()]; });
document.getElementById("sample").addEventListener("click", () => { box.value = SAMPLES[kind()]; box.focus(); });
hint();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const go = document.getElementById("go");
  go.disabled = true;
  try {
    const per_s = Number(document.getElementById("speed").value) * (kind() === "chat" ? 0.15 : kind() === "log" ? 0.5 : 1);
    const told = await send("/api/v1/try", { kind: kind(), content: box.value, per_s });
    watch(told.session_id, told.records);
    history.replaceState(null, "", `/try?session=${encodeURIComponent(told.session_id)}`);
  } catch (problem) {
    say(problem.message, true);
  }
  go.disabled = false;
});

function watch(id, records = null) {
  source?.close();
  session = null;
  known.clear();
  document.getElementById("answers").replaceChildren();
  document.getElementById("feed").replaceChildren();
  document.getElementById("watched-title").replaceChildren("Reading ", element("a", { href: sessionUrl(id) }, id));
  document.getElementById("watched-said").textContent = records ? `${grouped(records)} records on their way` : "";
  source = new EventSource(`/api/v1/live?session=${encodeURIComponent(id)}`);
  source.addEventListener("stage", (event) => { const [one] = JSON.parse(event.data).sessions; if (one) { session = one; wake(); } });
  source.addEventListener("happening", (event) => happened(JSON.parse(event.data)));
}

function wake() { if (!awake) { awake = true; requestAnimationFrame(frame); } }
function frame() {
  awake = false;
  if (!session) return;
  draw(document.getElementById("watch"), session);
  document.getElementById("watch-tail").textContent = (session.tail || "").slice(-220).trimStart();
  document.getElementById("watched-said").textContent = `${counted(session.items, UNITS[session.modality])}${session.ended ? ", complete" : ""}`;
  for (const [start, end, label, confidence, final, changes, prediction] of session.labels ?? []) answer(`topic/${start}`, "topic", start, end, label, confidence, final, changes, prediction);
  if (session.document?.[2]) { const [start, end, label, confidence, final, , prediction] = session.document; answer("whole", session.modality === "tokens" || session.modality === "chat" ? "topic" : "anomaly", start, end, label, confidence, final, 0, prediction, "as a whole"); }
}

function answer(key, task, start, end, label, confidence, final, changes, prediction, about = null) {
  const before = known.get(key), now = `${label} ${confidence} ${final} ${end}`;
  if (before?.now === now) return;
  const chip = element("span", { class: `chip h${hue(label)}` }, label);
  const words = `${percent(confidence)}${final ? "" : ", so far"}${changes ? `, corrected ${changes}×` : ""}`;
  const judge = form.dataset.can && prediction ? element("span", { class: "judge", "data-session": session.id, "data-task": task, "data-prediction": prediction, "data-position": start, "data-end": end, "data-label": label },
    element("button", { type: "button", class: "right", "aria-pressed": "false", "aria-label": `${label} is right` }, icon("right")), element("button", { type: "button", class: "wrong", "aria-pressed": "false", "aria-label": `${label} is wrong` }, icon("wrong"))) : null;
  const row = element("div", { class: "answer" }, chip, element("span", { class: "of grow" }, `${words} · ${about ?? `${start}–${end - 1}`}`), judge);
  if (before && before.label === label && before.row.querySelector("[aria-pressed='true'], .correct")) { before.row.querySelector(".of").textContent = row.querySelector(".of").textContent; before.now = now; return; }
  if (before) before.row.replaceWith(row); else document.getElementById("answers").append(row);
  known.set(key, { row, now, label });
}

function happened(told) {
  if (told.kind === "anomaly" && form.dataset.can && told.prediction_id) answer(`anomaly/${told.position}`, "anomaly", told.position, told.position + 1, "anomaly", told.score, true, 0, told.prediction_id, told.text);
  const list = document.getElementById("feed");
  list.prepend(element("li", { class: `happening ${told.kind}` }, element("time", {}, new Date(told.at * 1000).toISOString().slice(11, 19)), element("b", {}, told.kind), element("span", {}, told.text)));
  while (list.children.length > 80) list.lastChild.remove();
}

document.addEventListener("theme", wake);
addEventListener("resize", wake);
const asked = data("begin").session;
if (asked) watch(asked);
