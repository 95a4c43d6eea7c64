// A form for a stream, the curl line growing beside it.
import { html, useState } from "../vendor/htm-preact.js";
import { call } from "../api.js";
import { Copy, Field, act, curl, go } from "../ui.js";

const NUMBERS = [
  ["max_messages", "The oldest events beyond so many are dropped, whoever still waits for them. Empty: none is."],
  ["max_age_ms", "Events older than this (ms) are dropped. Empty: none is."],
  ["dedupe_window_ms", "An id that comes again within this time (ms) is a duplicate and not stored. 0: no id is remembered."],
];

export function NewStream() {
  const [form, setForm] = useState({ name: "", kind: "events", max_messages: "", max_age_ms: "", dedupe_window_ms: "120000", replicas: "0", fsync: false });
  const input = (field, hint, extra = {}) => html`<${Field} label=${field} hint=${hint} value=${form[field]} ...${extra} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const events = form.kind === "events";
  const body = { name: form.name, kind: form.kind };
  const number = (text) => (/^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : text);
  if (events) for (const [field] of NUMBERS) if (form[field] !== "" && !(field === "dedupe_window_ms" && form[field] === "120000")) body[field] = number(form[field]);
  if (form.replicas !== "0" && form.replicas !== "") body.replicas = number(form.replicas);
  if (form.fsync) body.fsync = true;
  const submit = async (event) => {
    event.preventDefault();
    if (await act(() => call("POST", "streams", { body }), "The stream is there.")) go(["stream", form.name]);
  };
  return html`<h1>New stream</h1><div class="two"><form class="card" onSubmit=${submit}>
    ${input("name", "1 to 64 of letters, digits, _ . -", { "data-search": true })}
    <${Field} label="kind" value=${form.kind} options=${[["events", "events: everything that happened, in order"], ["records", "records: the newest version of every object, once"]]} onChange=${(e) => setForm({ ...form, kind: e.target.value })} />
    ${events ? NUMBERS.map(([field, hint]) => input(field, hint, { inputmode: "numeric" })) : html`<p class="quiet">Publishing a record again replaces its old version; the same content changes nothing. It has no limits: it holds each record once.</p>`}
    ${input("replicas", "A publish is answered when so many replicas of Redis have it. 0: at once.", { inputmode: "numeric" })}
    <label><input type="checkbox" checked=${form.fsync} onChange=${(e) => setForm({ ...form, fsync: e.target.checked })} /> fsync: a publish is answered when the disk has it</label>
    <p class="buttons"><button class="first" disabled=${!form.name}>Create the stream</button></p></form>
    <div><${Copy} label="curl" text=${curl("POST", "streams", body)} /></div></div>`;
}
