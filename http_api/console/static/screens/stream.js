// One stream: what it holds, how it grows, its settings, what waits for its time.
import { html, useState } from "../vendor/htm-preact.js";
import { all, call, can, get, stream } from "../api.js";
import { Chart } from "../chart.js";
import { note, past, rate, rates } from "../history.js";
import { Facts, Field, Loaded, Table, Tabs, Text, Time, act, ask, bytes, count, go, link, span, useLive } from "../ui.js";
import { Payload } from "../payload.js";
import { Messages } from "./messages.js";
import { Publish } from "./publish.js";
import { State } from "./overview.js";

async function load(name, signal) {
  rates();
  const found = await get(stream(name), {}, signal);
  note(`stream ${name}`, { messages: found.info.messages, published: rate("published", name) });
  return found;
}

function Scheduled({ name }) {
  const live = useLive((signal) => get(stream(name, "/scheduled"), { limit: 1000 }, signal), [name]);
  const cancel = async (id) => {
    if (!(await ask({ title: "Cancel a scheduled event", text: html`<${Text} v=${id} /> will never be delivered.`, yes: "Cancel the event" }))) return;
    await act(() => call("DELETE", stream(name, `/scheduled/${encodeURIComponent(id)}`)), "The event is cancelled.");
    live.reload();
  };
  const columns = [
    ["Event", (row) => html`<${Text} v=${row.id} />`], ["Collection", (row) => html`<${Text} v=${row.collection_id} />`],
    ["Key", (row) => html`<${Text} v=${row.key} />`], ["Delivered from", (row) => html`<${Time} at=${row.deliver_at} />`],
    ...(can("admin") ? [["", (row) => html`<button class="danger" aria-label=${`Cancel ${row.id}`} onClick=${() => cancel(row.id)}>Cancel</button>`]] : []),
  ];
  return html`<${Loaded} live=${live}>${(page) => html`<${Table} caption="Scheduled events" columns=${columns} rows=${page.data} keyOf=${(row) => row.id} empty="No event waits for its time." />
    ${page.next ? html`<p class="quiet">The first 1000 are shown.</p>` : null}`}<//>`;
}

function Consumers({ name }) {
  const live = useLive((signal) => all("http-consumers", { stream_id: name, info: true }, signal), [name]);
  const columns = [
    ["Consumer", (c) => html`<a href=${link(["consumer", c.name])}>${c.name}</a>`], ["State", (c) => html`<${State} of=${c} />`],
    ["Backlog", (c) => count(c.info.num_pending), true], ["Out", (c) => count(c.info.num_ack_pending), true], ["Dead", (c) => count(c.info.num_dead), true],
  ];
  return html`<${Loaded} live=${live}>${(rows) => html`<${Table} caption="Consumers of this stream" columns=${columns} rows=${rows} keyOf=${(c) => c.name} empty="Nobody consumes this stream." />`}<//>`;
}

const LIMITS = [["max_messages", "The oldest events beyond so many are dropped. Empty: none is."], ["max_age_ms", "Events older than this (ms) are dropped. Empty: none is."]];

function Settings({ found, reload }) {
  const events = found.kind === "events";
  const [form, setForm] = useState({ max_messages: found.max_messages ?? "", max_age_ms: found.max_age_ms ?? "", dedupe_window_ms: found.dedupe_window_ms, metadata: String(found.metadata) });
  const field = (name) => ({ label: name, value: form[name], disabled: !can("admin"), onInput: (e) => setForm({ ...form, [name]: e.target.value }) });
  const number = (name) => (form[name] === "" ? "null" : /^\d+$/.test(form[name]) ? form[name] : JSON.stringify(form[name]));
  const save = async (event) => {
    event.preventDefault();
    const names = events ? ["max_messages", "max_age_ms", "dedupe_window_ms"] : [];
    const body = `{${names.map((name) => `"${name}":${number(name)},`).join("")}"metadata":${form.metadata || "{}"}}`;
    if (await act(() => call("PATCH", stream(found.name), { body }), "The settings are saved.")) reload();
  };
  const remove = async () => {
    const text = html`<p>Its ${count(found.info.messages)} messages go, and its ${count(found.info.consumers)} consumers with all they know. Nothing brings them back.</p>`;
    if (!(await ask({ title: `Delete the stream ${found.name}`, text, yes: "Delete", typed: found.name }))) return;
    if (await act(() => call("DELETE", stream(found.name), { query: { force: "true" } }), "The stream is deleted.")) go(["streams"]);
  };
  return html`<form class="card" onSubmit=${save}>
    ${events ? LIMITS.map(([name, hint]) => html`<${Field} ...${field(name)} hint=${hint} inputmode="numeric" />`) : html`<p class="quiet">A record stream keeps the newest version of every record: it has no limits.</p>`}
    ${events ? html`<${Field} ...${field("dedupe_window_ms")} hint="How long the id of an event is remembered (ms): the same id within it is a duplicate. 0: never." inputmode="numeric" />` : null}
    <${Field} ...${field("metadata")} rows="3" hint="A JSON object of your own." />
    ${can("admin") ? html`<p class="buttons"><button class="first">Save</button><button type="button" class="danger" onClick=${remove}>Delete the stream</button></p>` : null}</form>
    ${can("admin") ? null : html`<${Payload} text=${String(found.metadata)} label="Metadata" />`}`;
}

export function Stream({ parts, query }) {
  const name = parts[1];
  const live = useLive((signal) => load(name, signal), [name], 2000);
  const tab = query.tab || "messages";
  const names = [["messages", "Messages"], ["consumers", "Consumers"], ["scheduled", "Scheduled"], ["settings", "Settings"], ...(can("publish", name) ? [["publish", "Publish"]] : [])];
  return html`<div class="head"><h1><span class="quiet">Stream</span> <${Text} v=${name} /></h1></div>
    <${Loaded} live=${live}>${(found) => {
      const seen = past(`stream ${name}`);
      return html`<${Facts} facts=${[["Kind", found.kind], ["Messages", count(found.info.messages)], ["Size", bytes(found.info.bytes)], ["Consumers", count(found.info.consumers)],
        ["Limits", found.max_messages || found.max_age_ms ? [found.max_messages && `${count(found.max_messages)} messages`, found.max_age_ms && span(found.max_age_ms / 1000)].filter(Boolean).join(", ") : "none"],
        ["Created", html`<${Time} at=${found.created_at} />`]]} />
      <details class="charts" open><summary>Over time</summary><div class="two"><${Chart} title="Published a second" at=${seen.at} lines=${[["published", "blue", seen.published]]} />
        <${Chart} title="Messages held" at=${seen.at} lines=${[["messages", "green", seen.messages]]} /></div></details>
      <${Tabs} of=${["stream", name]} at=${tab} names=${names} />
      ${tab === "messages" ? html`<${Messages} name=${name} query=${query} />` : null}
      ${tab === "consumers" ? html`<${Consumers} name=${name} />` : null}
      ${tab === "scheduled" ? html`<${Scheduled} name=${name} />` : null}
      ${tab === "settings" ? html`<${Settings} key=${found.updated_at} found=${found} reload=${live.reload} />` : null}
      ${tab === "publish" && can("publish", name) ? html`<${Publish} name=${name} kind=${found.kind} done=${live.reload} />` : null}`;
    }}<//>`;
}
