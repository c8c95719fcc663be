// What every page has: the theme's button, keys that lead to pages, copy buttons, and how a request is sent.
export const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

export async function send(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || `the console answered ${answer.status}`);
  return told;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined).map((c) => (c instanceof Node ? c : document.createTextNode(String(c)))));
  return made;
}

export function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg"), use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  made.setAttribute("class", "thumb"); made.setAttribute("viewBox", "0 0 20 20"); made.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `/static/icon.svg#${name}`);
  made.append(use);
  return made;
}

export const data = (id) => JSON.parse(document.getElementById(id).textContent);
export const counted = (n, one, many = `${one}s`) => `${grouped(n)} ${n === 1 ? one : many}`;
export const sessionUrl = (id) => `/sessions/${encodeURIComponent(id)}`;
export const grouped = (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en", { maximumFractionDigits: 1 }));
export function ms(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 1000) return `${(value / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}
export const percent = (p) => (p === null || p === undefined ? "" : `${Math.round(p * 100)} %`);

export function say(text, bad = false) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.className = bad ? "said bad shown" : "said shown";
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.className = "said"; }, bad ? 8000 : 3500);
}

function theme() {
  const button = document.getElementById("theme");
  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => { button.setAttribute("aria-pressed", String(isDark())); };
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("strata-theme", next); } catch { /* only for this page, then */ }
    tell();
    document.dispatchEvent(new CustomEvent("theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { tell(); document.dispatchEvent(new CustomEvent("theme")); });
  tell();
}

const PAGES = { l: "/", s: "/sessions", e: "/evaluation", t: "/traces", y: "/try" };
function keys() {
  let waiting = 0;
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || at.isContentEditable || /^(input|textarea|select)$/i.test(at.tagName)) return;
    if (event.key === "?") document.getElementById("keys").showModal();
    else if (event.key === "/") { const box = document.querySelector('input[type="search"]'); if (box) { event.preventDefault(); box.focus(); } else location.href = "/sessions"; }
    else if (event.key === "d") document.getElementById("theme").click();
    else if (event.key === "g") waiting = Date.now();
    else if (Date.now() - waiting < 1200 && PAGES[event.key]) location.href = PAGES[event.key];
    else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  });
}

function step(by) {
  const all = [...document.querySelectorAll("[data-step]")].filter((e) => e.offsetParent !== null);
  if (!all.length) return;
  const now = all.indexOf(document.activeElement);
  all[Math.min(Math.max(now + by, 0), all.length - 1)].focus();
}

function copies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      say("Selected: copy it with your keys");
    }
  });
}

// a link to an item leads to what holds it: an item has an anchor of its own only where each is shown
function land() {
  const [, item] = location.hash.match(/^#item-(\d+)$/) ?? [];
  document.querySelector(".targeted")?.classList.remove("targeted");
  if (item === undefined || document.getElementById(`item-${item}`)) return;
  const spots = [...document.querySelectorAll('[id^="item-"], [id^="sentence-"]')].map((e) => [Number(e.id.split("-")[1]), e]).filter(([n]) => n <= Number(item));
  const found = spots.sort((a, b) => a[0] - b[0]).at(-1)?.[1];
  found?.classList.add("targeted");
  found?.scrollIntoView({ block: "center" });
}

theme();
keys();
copies();
land();
addEventListener("hashchange", land);
document.getElementById("keys-button").addEventListener("click", () => document.getElementById("keys").showModal());
