// A form for a consumer: what each choice does, the curl line, and which of the newest messages its filters match.
import { html, useState } from "../vendor/htm-preact.js";
import { all, call, get, stream } from "../api.js";
import { preview } from "../payload.js";
import { Copy, Field, Loaded, Table, Text, act, count, curl, go, link, useLive } from "../ui.js";
import { CHANGEABLE, START, asJson } from "./settings.js";

const DEFAULTS = { ack_wait_ms: "30000", max_deliver: "-1", max_ack_pending: "1000", max_waiting: "512", backoff_ms: "" };
const FILTERS = [["provider", "What stands before the first : of the collection."], ["collection_id", "Such as github:issues, or github:*."], ["resource_id", ""]];
const patterns = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);
const fits = (value, wanted) => !wanted.length || wanted.some((one) => one === "*" || (value !== null && (one.endsWith("*") ? value.startsWith(one.slice(0, -1)) : value === one)));

function Preview({ name, filters }) {
  const live = useLive((signal) => get(stream(name, "/messages"), { order: "desc", limit: 100 }, signal), [name], 0);
  const columns = [
    ["Message", (m) => html`<a href=${link(["message", name, m.id])}>${m.id}</a>`], ["Collection", (m) => html`<${Text} v=${(m.record || m.event).collection_id} />`],
    ["Data", (m) => html`<code class="line"><${Text} v=${preview((m.record || m.event).data.text, 80)} /></code>`],
  ];
  return html`<section aria-labelledby="matches"><h2 id="matches">What it would get</h2><${Loaded} live=${live}>${({ data }) => {
    const rows = data.filter((m) => FILTERS.every(([field]) => fits((m.record || m.event)[field], patterns(filters[field]))));
    return html`<p role="status">${count(rows.length)} of the newest ${count(data.length)} messages match.</p><${Table} caption="Messages that match" columns=${columns} rows=${rows.slice(0, 10)} keyOf=${(m) => m.id} empty="" />`;
  }}<//></section>`;
}

export function NewConsumer({ query }) {
  const streams = useLive((signal) => all("streams", {}, signal), [], 0);
  const [form, setForm] = useState({ name: "", stream_id: query.stream || "records", deliver_policy: "all", ordering: "none", provider: "", collection_id: "", resource_id: "", ...DEFAULTS });
  const input = (field, hint, extra = {}) => html`<${Field} label=${field} hint=${hint} value=${form[field]} ...${extra} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const choice = (field, options) => html`<${Field} label=${field} value=${form[field]} options=${options} onChange=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const parts = [`"name":${JSON.stringify(form.name)}`, `"stream_id":${JSON.stringify(form.stream_id)}`];
  if (form.deliver_policy !== "all") parts.push(`"deliver_policy":${JSON.stringify(form.deliver_policy)}`);
  if (form.ordering !== "none") parts.push(`"ordering":"${form.ordering}"`);
  const filters = FILTERS.filter(([field]) => form[field].trim()).map(([field]) => `"${field}":${JSON.stringify(patterns(form[field]))}`);
  if (filters.length) parts.push(`"filters":{${filters.join(",")}}`);
  for (const [field] of CHANGEABLE) if (form[field] !== DEFAULTS[field]) parts.push(`"${field}":${asJson(field, form[field])}`);
  const body = `{${parts.join(",")}}`;
  const submit = async (event) => {
    event.preventDefault();
    if (await act(() => call("POST", "http-consumers", { body }), "The consumer is there.")) go(["consumer", form.name]);
  };
  const names = (streams.value || []).map(({ name, kind }) => [name, `${name} (${kind})`]);
  return html`<h1>New consumer</h1><div class="two"><form class="card" onSubmit=${submit}>
    ${input("name", "1 to 64 of letters, digits, _ . -", { "data-search": true })}${choice("stream_id", names.length ? names : [[form.stream_id, form.stream_id]])}
    ${input("deliver_policy", `Where it starts: ${START}.`)}
    ${choice("ordering", [["none", "none: every worker takes what comes next"], ["key", "key: one message of a key at a time, later ones wait"]])}
    <fieldset><legend>Filters</legend><p class="quiet">All must match, any of several patterns separated by commas. A * at the end matches the rest. They cannot be changed later.</p>${FILTERS.map(([field, hint]) => input(field, hint))}</fieldset>
    <details><summary>Delivery</summary>${CHANGEABLE.map(([field, hint]) => input(field, hint))}</details>
    <p class="buttons"><button class="first" disabled=${!form.name}>Create the consumer</button></p></form>
    <div><${Copy} label="curl" text=${curl("POST", "http-consumers", body)} /><${Preview} name=${form.stream_id} filters=${form} /></div></div>`;
}
