// A consumer's settings: what may be changed, what a change does, and a new start.
import { html, useState } from "../vendor/htm-preact.js";
import { call, can, consumer } from "../api.js";
import { Payload } from "../payload.js";
import { Facts, Field, Text, Time, act, ask, count, go } from "../ui.js";

export const CHANGEABLE = [
  ["ack_wait_ms", "How long a worker has for a message before another gets it (ms). Deliveries that are out go by the new time too."],
  ["max_deliver", "After so many deliveries a message is a dead letter. -1: never."],
  ["max_ack_pending", "How many deliveries may be out at once, over all workers."],
  ["max_waiting", "How many calls of next may wait at once on one server; more are refused."],
  ["backoff_ms", "Delays before the first, second, … redelivery (ms), separated by commas; the last one repeats. Empty: at once."],
];
/** A form's text as JSON: numbers as they were typed, a list from commas. What is no number goes as a string, for the API to refuse. */
export function asJson(field, text) {
  const number = (part) => (/^-?\d+$/.test(part) ? part : JSON.stringify(part));
  return field === "backoff_ms" ? `[${text.split(",").map((part) => part.trim()).filter(Boolean).map(number).join(",")}]` : number(text.trim());
}
const shown = (found, field) => (field === "backoff_ms" ? found.backoff_ms.join(", ") : String(found[field]));
export const START = "all, new, last, a window such as 90s, 15m, 1h or 7d, or a time such as 2026-01-31T12:00:00Z";

export function Settings({ found, reload }) {
  const { name, info } = found;
  const manage = can("manage", name), admin = can("admin");
  const [form, setForm] = useState({ ...Object.fromEntries(CHANGEABLE.map(([field]) => [field, shown(found, field)])), metadata: String(found.metadata) });
  const [start, setStart] = useState(found.deliver_policy);
  const changes = CHANGEABLE.filter(([field]) => form[field] !== shown(found, field)).map(([field]) => `"${field}":${asJson(field, form[field])}`);
  if (form.metadata !== String(found.metadata)) changes.push(`"metadata":${form.metadata || "{}"}`);
  const save = async (event) => {
    event.preventDefault();
    if (await act(() => call("PATCH", consumer(name), { body: `{${changes.join(",")}}` }), "The settings are saved.")) reload();
  };
  const reset = async (event) => {
    event.preventDefault();
    const text = html`<p>The consumer forgets:</p><ul><li>${count(info.num_ack_pending)} deliveries that are out: their acks come too late</li><li>${count(info.num_retrying)} messages that wait to be delivered again</li>
      <li>${count(info.num_dead)} dead letters</li><li>its place: ${count(info.num_pending)} messages wait now</li></ul><p>Then it starts from <b><${Text} v=${start} /></b>. What it had done from there on is delivered again.</p>`;
    if (!(await ask({ title: `Reset ${name}`, text, yes: "Reset", typed: name }))) return;
    if (await act(() => call("POST", consumer(name, "/reset"), { body: { deliver_policy: start } }), (now) => `It starts from ${now.deliver_policy}: ${count(now.info.num_pending)} messages wait.`)) reload();
  };
  const remove = async () => {
    const text = html`<p>All that it knows of deliveries, retries and its ${count(info.num_dead)} dead letters goes. The messages stay in the stream.</p>`;
    if (!(await ask({ title: `Delete the consumer ${name}`, text, yes: "Delete", typed: name }))) return;
    if (await act(() => call("DELETE", consumer(name)), "The consumer is deleted.")) go(["consumers"]);
  };
  return html`<${Facts} facts=${[["Ordering", found.ordering === "key" ? "key: one message of a key at a time" : "none"], ["Started from", html`<${Text} v=${found.deliver_policy} />`],
      ["Filters", Object.keys(found.filters).length ? html`<code><${Text} v=${JSON.stringify(found.filters)} /></code>` : "none: every message"], ["Created", html`<${Time} at=${found.created_at} />`], ["Changed", html`<${Time} at=${found.updated_at} />`]]} />
    <form class="card" onSubmit=${save}><h2>Settings</h2><div class="grid">${CHANGEABLE.map(([field, hint]) => html`<${Field} label=${field} hint=${hint} value=${form[field]} disabled=${!manage} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`)}</div>
      ${manage ? html`<${Field} label="metadata" rows="3" hint="A JSON object of your own." value=${form.metadata} onInput=${(e) => setForm({ ...form, metadata: e.target.value })} />
      <p class="buttons"><button class="first" disabled=${!changes.length}>Save</button></p>` : null}</form>
    ${manage ? null : html`<${Payload} text=${String(found.metadata)} label="Metadata" />`}
    ${manage ? html`<form class="card" onSubmit=${reset}><h2>Start again</h2><${Field} label="Start from" hint=${START} value=${start} onInput=${(e) => setStart(e.target.value)} />
      <p class="buttons"><button class="danger" disabled=${!start}>Reset…</button></p></form>` : null}
    ${admin ? html`<p><button class="danger" onClick=${remove}>Delete the consumer</button></p>` : null}`;
}
