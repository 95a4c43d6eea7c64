// Publish one message: a test, or an edited copy of another.
import { html, useState } from "../vendor/htm-preact.js";
import { call, stream } from "../api.js";
import { Copy, Field, Trouble, act, curl, utc } from "../ui.js";

const draft = { from: null };
/** Begin the next form with what a message holds. */
export function edit(message) {
  draft.from = message.record || message.event;
}

const COMMON = [["collection_id", "Required, usually provider:collection."], ["id", "Records: who it is. Events: the same id again is a duplicate. Empty: one is made."], ["upstream_id", ""], ["resource_id", ""]];
const EVENTS = [["event", "What happened; created where it is empty."], ["key", "What order per key goes by; upstream_id where it is empty."], ["ttl_ms", "Not delivered for the first time later than this many ms."]];

function begin(kind) {
  const from = draft.from;
  draft.from = null;
  if (!from) return { collection_id: "", data: "{}", headers: "" };
  const form = { data: from.data.text, headers: from.headers ? String(from.headers) : "", changes: from.changes ? String(from.changes) : "" };
  // An event that is published again is another event: its id would make it a duplicate.
  for (const name of ["collection_id", "upstream_id", "resource_id", "event", "key", ...(kind === "records" ? ["id"] : [])]) form[name] = from[name] || "";
  return form;
}

/** The body as text: data goes as it was typed, digit by digit. Throws where a part is no JSON. */
function body(form, kind) {
  const parts = [];
  for (const [name] of [...COMMON, ...(kind === "events" ? EVENTS : [])]) {
    if (form[name]) parts.push(`${JSON.stringify(name)}:${name === "ttl_ms" && /^\d+$/.test(form[name]) ? form[name] : JSON.stringify(form[name])}`);
  }
  if (form.deliver_at && kind === "events") parts.push(`"deliver_at":${JSON.stringify(utc(form.deliver_at))}`);
  if (form.deleted && kind === "records") parts.push('"deleted":true');
  for (const name of ["data", "headers", ...(kind === "events" ? ["changes"] : [])]) {
    if (!form[name]?.trim() || (name === "data" && form.deleted)) continue;
    try { JSON.parse(form[name]); } catch (error) { throw Object.assign(new Error(`${name} is no JSON: ${error.message}`), { code: "INVALID_REQUEST" }); }
    parts.push(`"${name}":${form[name].trim()}`);
  }
  return `{"messages":[{${parts.join(",")}}]}`;
}

export function Publish({ name, kind, done }) {
  const [form, setForm] = useState(() => begin(kind));
  const input = (field, hint, extra = {}) => html`<${Field} label=${field} hint=${hint} value=${form[field] || ""} ...${extra} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  let text = null, wrong = null;
  try { text = body(form, kind); } catch (error) { wrong = error; }
  const submit = async (event) => {
    event.preventDefault();
    if (text && await act(() => call("POST", stream(name, "/messages"), { body: text }), ({ data: [row] }) => `${row.id}: ${row.status}${row.message_id ? `, message ${row.message_id}` : ""}.`)) done();
  };
  return html`<form class="card" onSubmit=${submit}><h2>Publish a message</h2>
    <div class="grid">${COMMON.map(([field, hint]) => input(field, hint))}${kind === "events" ? EVENTS.map(([field, hint]) => input(field, hint)) : null}
    ${kind === "events" ? input("deliver_at", "No consumer sees it before.", { type: "datetime-local", step: "1" }) : null}</div>
    ${kind === "records" ? html`<label><input type="checkbox" checked=${form.deleted} onChange=${(e) => setForm({ ...form, deleted: e.target.checked })} /> The record is deleted: a tombstone</label>` : null}
    ${input("data", "Any JSON; it comes out as it is typed.", { rows: 8 })}${kind === "events" ? input("changes", "A JSON object: the values before.", { rows: 2 }) : null}
    ${input("headers", 'A JSON object of strings, such as {"trace": "1"}.', { rows: 2 })}
    ${wrong ? html`<${Trouble} problem=${wrong} />` : null}
    <p class="buttons"><button class="first" disabled=${!text || !form.collection_id}>Publish</button></p></form>
    ${text && text.length < 20000 ? html`<${Copy} label="curl" text=${curl("POST", stream(name, "/messages"), text)} />` : null}`;
}
