// What the screens share: the address, live values, notices, questions, and how values are shown.
import { Component, html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { BASE, changed, session } from "./api.js";

// --- The address: all state of a screen is in it.

export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}
export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}
export const go = (parts, query) => { location.hash = link(parts, query); };
/** Change some of the query and stay on the screen. */
export function set(patch) {
  const { parts, query } = place();
  history.replaceState(null, "", link(parts, { ...query, ...patch }));
  changed();
}

// --- Values that stay fresh.

/** What `load(signal)` gives, again every `every` ms while the tab can be seen. */
export function useLive(load, deps, every = 3000) {
  const [found, setFound] = useState({ value: null, problem: null });
  const again = useRef(() => {});
  useLayoutEffect(() => { // before the first paint: the answer may come in time for the second
    const stop = new AbortController();
    let timer = 0, busy = false;
    setFound({ value: null, problem: null });
    async function look() {
      clearTimeout(timer);
      if (busy || stop.signal.aborted) return;
      busy = true;
      const started = performance.now();
      let pause = every;
      try {
        const value = await load(stop.signal);
        if (!stop.signal.aborted) setFound({ value, problem: null });
        pause = Math.max(every, Math.min(30000, 5 * (performance.now() - started))); // a thousand consumers leave the server its time
      } catch (problem) {
        if (!stop.signal.aborted) setFound((last) => ({ value: last.value, problem }));
      }
      busy = false;
      if (!stop.signal.aborted && every && !document.hidden) timer = setTimeout(look, pause);
    }
    const seen = () => (document.hidden ? clearTimeout(timer) : look());
    again.current = look;
    document.addEventListener("visibilitychange", seen);
    look();
    return () => { stop.abort(); clearTimeout(timer); document.removeEventListener("visibilitychange", seen); };
  }, deps);
  return { ...found, reload: () => again.current() };
}

/** The value when it is there, else why not. */
export function Loaded({ live, children }) {
  if (live.value === null) return live.problem ? html`<${Trouble} problem=${live.problem} />` : html`<p class="late quiet" role="status">Loading…</p>`;
  return html`${live.problem && live.problem.status !== 503 && live.problem.status !== 0 ? html`<${Trouble} problem=${live.problem} />` : null}${children(live.value)}`;
}

// --- Notices and questions.

export const desk = { notice: null, question: null };
export function say(text) { desk.notice = { text }; changed(); }
export function complain(problem) {
  if (problem.name === "AbortError" || problem.status === 401) return;
  desk.notice = { problem };
  changed();
}
/** Do something that changes the broker, and say what came of it. True: it was done. */
export async function act(work, done) {
  try {
    const answer = await work();
    say(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (problem) {
    complain(problem);
    return false;
  }
}
/** Ask before something that cannot be taken back. `typed`: what must be typed first. */
export function ask(question) {
  return new Promise((resolve) => { desk.question = { ...question, resolve }; changed(); });
}

export function Trouble({ problem }) {
  const fields = Object.entries(problem.fields || {});
  return html`<div class="trouble" role="alert"><b>${problem.code || "ERROR"}</b> <${Text} v=${problem.message} />
    ${fields.length ? html`<ul>${fields.map(([field, why]) => html`<li><code><${Text} v=${field} /></code>: <${Text} v=${why.join("; ")} /></li>`)}</ul>` : null}
    ${problem.requestId ? html`<small>Request ${problem.requestId}</small>` : null}</div>`;
}

export function Notice() {
  const { notice } = desk;
  const close = () => { desk.notice = null; changed(); };
  useEffect(() => {
    if (!notice || notice.problem) return undefined;
    const timer = setTimeout(close, 8000);
    return () => clearTimeout(timer);
  }, [notice]);
  return html`<div class="notices"><div role="status">${notice && !notice.problem ? html`<p class="said">${notice.text}</p>` : null}</div>
    ${notice?.problem ? html`<${Trouble} problem=${notice.problem} />` : null}
    ${notice ? html`<button class="plain" onClick=${close} aria-label="Close the message">×</button>` : null}</div>`;
}

export function Question() {
  const { question } = desk;
  const box = useRef(null);
  const [typed, setTyped] = useState("");
  useEffect(() => { setTyped(""); if (question && !box.current.open) box.current.showModal(); }, [question]);
  if (!question) return null;
  const answer = (yes) => { box.current.close(); desk.question = null; changed(); question.resolve(yes); };
  const sure = !question.typed || typed === question.typed;
  return html`<dialog ref=${box} aria-labelledby="asked" onCancel=${(e) => { e.preventDefault(); answer(false); }}>
    <h2 id="asked">${question.title}</h2><div>${question.text}</div>
    ${question.typed ? html`<label>Type <b>${question.typed}</b> to go on <input value=${typed} autofocus autocomplete="off" onInput=${(e) => setTyped(e.target.value)} /></label>` : null}
    <p class="buttons"><button class="danger" disabled=${!sure} onClick=${() => answer(true)}>${question.yes}</button>
    <button onClick=${() => answer(false)}>Cancel</button></p></dialog>`;
}

// --- How values are shown.

const HIDDEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff])/;
/** Text of others: what would turn the line around, or not be seen, is shown as what it is. */
export function Text({ v }) {
  if (v == null || v === "") return html`<span class="quiet">–</span>`;
  const text = String(v);
  if (!HIDDEN.test(text)) return html`<bdi>${text}</bdi>`;
  return html`<bdi>${text.split(HIDDEN).map((part, i) => (i % 2 ? html`<span class="mark">U+${part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}</span>` : part))}</bdi>`;
}

export const count = (n) => (typeof n === "number" ? n.toLocaleString("en").replaceAll(",", "\u202f") : String(n ?? "–"));
export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return "";
}
export function span(s) {
  if (s == null) return "–";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (s >= 2 * size) return `${Math.round(s / size)} ${unit}`;
  return `${Math.round(s)} s`;
}
export const ageOf = (at) => (at ? Math.max(0, (Date.now() - Date.parse(at)) / 1000) : null);

const two = (n) => String(n).padStart(2, "0");
/** A time in the clock of the reader; UTC when the mouse is over it. */
export function Time({ at }) {
  if (!at) return html`<span class="quiet">–</span>`;
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return html`<${Text} v=${at} />`;
  const local = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return html`<time datetime=${at} title=${`${at} (UTC)`}>${local}</time>`;
}
export const Age = ({ at }) => (at ? html`<time datetime=${at} title=${`${at} (UTC)`}>${span(ageOf(at))}</time>` : html`<span class="quiet">–</span>`);
/** When the message of an id was appended. */
export const timeOfId = (id) => { const ms = Number(String(id).split("-")[0]); return ms > 0 && ms < 8.64e15 ? new Date(ms).toISOString() : null; };
/** A field of a form that is a local time, as the API wants it. */
export const utc = (local) => { const d = local ? new Date(local) : null; return d && !Number.isNaN(d.getTime()) ? d.toISOString() : ""; };

/** A row is drawn again only where it or its columns are other ones: a thousand of them cost too much to compare at every scroll. */
class Row extends Component {
  shouldComponentUpdate(next) { return next.row !== this.props.row || next.columns !== this.props.columns; }
  render({ row, columns }) { return html`<tr>${columns.map(([heading, show, number]) => html`<td class=${number ? "n" : ""} data-label=${heading}>${show(row)}</td>`)}</tr>`; }
}

// Rows before the first paint: a screen of them.
const AT_ONCE = 20;
/** A table that becomes a list of cards where the screen is narrow. `columns`: [heading, show(row), is a number?]. */
export function Table({ caption, columns, rows, keyOf, empty = "None.", first = 50 }) {
  const [shown, setShown] = useState(AT_ONCE);
  const end = useRef(null);
  useEffect(() => {
    if (!end.current) return undefined;
    const near = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) setShown((n) => n + first); }, { rootMargin: "600px" });
    near.observe(end.current);
    return () => near.disconnect();
  }, [rows.length > shown, shown]);
  if (!rows.length) return html`<p class="quiet">${empty}</p>`;
  return html`<div class="wide"><table><caption class="unseen">${caption}</caption>
    <thead><tr>${columns.map(([heading, , number]) => html`<th scope="col" class=${number ? "n" : ""}>${heading || html`<span class="unseen">Actions</span>`}</th>`)}</tr></thead>
    <tbody>${rows.slice(0, shown).map((row) => html`<${Row} key=${keyOf(row)} row=${row} columns=${columns} />`)}</tbody>
    </table>${rows.length > shown ? html`<p ref=${end} class="quiet">${count(rows.length - shown)} more</p>` : null}</div>`;
}

export function Tabs({ of, at, names }) {
  return html`<nav class="tabs" aria-label="Parts of this page">${names.map(([key, title]) => html`<a href=${link(of, { tab: key })} aria-current=${key === at ? "page" : null}>${title}</a>`)}</nav>`;
}
/** `facts`: [[name, value], …]. */
export const Facts = ({ facts }) => html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export function Field({ label, hint, ...rest }) {
  const given = { ...rest };
  return html`<label class="field"><span>${label}</span>${given.options
    ? html`<select ...${given}>${given.options.map(([value, text]) => html`<option value=${value} selected=${value === given.value}>${text}</option>`)}</select>`
    : given.rows ? html`<textarea ...${given} spellcheck=${false}></textarea>` : html`<input autocomplete="off" ...${given} />`}
    ${hint ? html`<small>${hint}</small>` : null}</label>`;
}

/** A command to take along. */
export function Copy({ label, text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try { await navigator.clipboard.writeText(text); setDone(true); setTimeout(() => setDone(false), 2000); } catch { say("The browser does not let the page copy: mark the text and copy it."); }
  };
  return html`<div class="copy"><div><b>${label}</b> <button onClick=${copy}>${done ? "Copied" : `Copy ${label}`}</button></div><pre tabindex="0" aria-label=${label}>${text}</pre></div>`;
}
const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
export function curl(method, path, body) {
  const token = session.token ? ` -H "Authorization: Bearer $BROKER_TOKEN"` : "";
  const data = body === undefined ? "" : ` \\\n  --json ${quoted(typeof body === "string" ? body : JSON.stringify(body))}`;
  return `curl -s${method === "GET" || (method === "POST" && data) ? "" : ` -X ${method}`}${token} ${quoted(new URL(path, BASE))}${data}`;
}
export function python(path) {
  const token = session.token ? `, headers={"Authorization": f"Bearer {os.environ['BROKER_TOKEN']}"}` : "";
  return `${token ? "import os\n\n" : ""}import httpx\n\nanswer = httpx.get(${JSON.stringify(String(new URL(path, BASE)))}${token})\nanswer.raise_for_status()\nprint(answer.json())`;
}
