// Thumbs and corrections. A thumb is a record of task `feedback`, value 1 or 0, counted by the question `feedback`. Up also writes the label that was
// predicted as the truth; down asks for the right one and writes that.
import { element, say, send } from "./page.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".judge button");
  if (!button) return;
  const place = button.parentElement, right = button.classList.contains("right");
  const about = place.dataset;
  const base = { session_id: about.session, prediction_id: about.prediction || null, position: Number(about.position), span_end: Number(about.end) };
  try {
    await send("/api/v1/labels", { ...base, task: "feedback", label: about.label, value: right ? 1 : 0 });
    if (right) await send("/api/v1/labels", { ...base, task: about.task, label: about.label });
  } catch (problem) {
    say(problem.message, true);
    return;
  }
  for (const other of place.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
  say(right ? `Kept: ${about.label} is right` : `Kept: ${about.label} is wrong`);
  if (!right) correct(place, base, about);
});

function correct(place, base, about) {
  if (place.nextElementSibling?.classList.contains("correct")) return;
  const known = about.task === "anomaly" ? ["normal", "anomaly"] : [...new Set([...document.querySelectorAll("[data-task='topic']")].map((e) => e.dataset.label))];
  const list = element("datalist", { id: `known-${Math.random().toString(36).slice(2)}` }, ...known.filter((l) => l !== about.label).map((l) => element("option", { value: l })));
  const box = element("input", { type: "text", "aria-label": "The right label", placeholder: "the right label", maxlength: 500, list: list.id });
  const form = element("form", { class: "correct" }, box, list, element("button", { class: "button quiet" }, "Keep"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const label = box.value.trim();
    if (!label) { box.focus(); return; }
    try {
      await send("/api/v1/labels", { ...base, task: about.task, label });
      say(`Kept: it is ${label}`);
      form.replaceWith(element("span", { class: "small muted" }, `→ ${label}`));
    } catch (problem) {
      say(problem.message, true);
    }
  });
  place.after(form);
  box.focus();
}
