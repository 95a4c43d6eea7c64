// One message, and what it is to each consumer.
import { html } from "../vendor/htm-preact.js";
import { call, can, consumer, get, stream } from "../api.js";
import { Payload } from "../payload.js";
import { Copy, Facts, Loaded, Table, Text, Time, act, curl, go, link, python, timeOfId, useLive } from "../ui.js";
import { edit } from "./publish.js";

const WORDS = {
  filtered: "its filters leave it out", before_start: "it lies before the start", new: "not delivered yet", out: "a worker has it", retrying: "waits to be delivered again",
  blocked: "waits for its key", done: "acked", dead: "a dead letter",
};
const BAD = { dead: "bad", blocked: "warn", retrying: "warn", done: "good" };

function Actions({ row, id, reload }) {
  if (!can("manage", row.consumer)) return null;
  const release = () => act(() => call("POST", consumer(row.consumer, "/pending/release"), { body: { ids: [id] } }), ({ released }) => `Released: ${released}.`).then(reload);
  const redrive = () => act(() => call("POST", consumer(row.consumer, "/dead-letters/redrive"), { body: { ids: [id] } }), ({ redriven }) => `Redriven: ${redriven}.`).then(reload);
  if (row.state === "out") return html`<button aria-label=${`Release for ${row.consumer}`} onClick=${release}>Release</button>`;
  if (row.state === "dead") return html`<button aria-label=${`Redrive for ${row.consumer}`} onClick=${redrive}>Redrive</button>`;
  return null;
}

export function Message({ parts }) {
  const [, name, id] = parts;
  const path = stream(name, `/messages/${encodeURIComponent(id)}`);
  const live = useLive((signal) => get(path, {}, signal), [name, id], 3000);
  const columns = [
    ["Consumer", (row) => html`<a href=${link(["consumer", row.consumer])}>${row.consumer}</a>`],
    ["State", (row) => html`<span class=${`badge ${BAD[row.state] || ""}`}>${row.state}</span> <span class="quiet">${WORDS[row.state]}</span>`],
    ["Deliveries", (row) => row.deliver_count ?? "–", true], ["Worker", (row) => html`<${Text} v=${row.worker} />`],
    ["Delivered", (row) => html`<${Time} at=${row.delivered_at} />`], ["Due", (row) => html`<${Time} at=${row.due_at || row.expires_at} />`],
    ["Reason", (row) => html`<${Text} v=${row.reason} />`], ["", (row) => html`<${Actions} row=${row} id=${id} reload=${live.reload} />`],
  ];
  return html`<div class="head"><h1><span class="quiet">Message</span> <${Text} v=${id} /></h1></div>
    <${Loaded} live=${live}>${(found) => {
      const it = found.record || found.event;
      const again = () => { edit(found); go(["stream", name], { tab: "publish" }); };
      return html`<${Facts} facts=${[
        ["Stream", html`<a href=${link(["stream", name])}>${name}</a>`], ["Collection", html`<${Text} v=${it.collection_id} />`], ["Id", html`<${Text} v=${it.id} />`],
        ["Upstream id", html`<${Text} v=${it.upstream_id} />`], ["Resource id", html`<${Text} v=${it.resource_id} />`],
        ...(found.event ? [["Event", html`<${Text} v=${it.event} />`], ["Key", html`<${Text} v=${it.key} />`]] : [["Deleted", it.deleted ? "yes: a tombstone" : "no"]]),
        ["Appended", html`<${Time} at=${timeOfId(id)} />`], ["Updated idx", String(it.updated_idx)]]} />
      <section aria-labelledby="states"><h2 id="states">Consumers</h2><${Table} caption="Consumers of this message" columns=${columns} rows=${found.consumers} keyOf=${(row) => row.consumer} empty="Nobody consumes this stream." /></section>
      <${Payload} text=${it.data.text} label="Data" />
      ${it.changes ? html`<${Payload} text=${it.changes.text} label="Changes" />` : null}${it.headers ? html`<${Payload} text=${it.headers.text} label="Headers" />` : null}
      ${can("publish", name) ? html`<p><button onClick=${again}>Edit and publish again</button></p>` : null}
      <${Copy} label="curl" text=${curl("GET", path)} /><${Copy} label="Python" text=${python(path)} />`;
    }}<//>`;
}
