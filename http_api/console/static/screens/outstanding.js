// What a consumer has out and what it will deliver again.
import { html } from "../vendor/htm-preact.js";
import { all, call, can, canRead, consumer, get, stream as of } from "../api.js";
import { Age, Loaded, Table, Text, Time, act, ask, count, link, useLive } from "../ui.js";

const MOST = 2000;
const message = (stream) => ["Message", (row) => html`<a href=${link(["message", stream, row.id])}>${row.id}</a>`];

function byWorker(rows) {
  const workers = new Map();
  for (const row of rows) {
    const it = workers.get(row.worker) || { worker: row.worker, count: 0, expired: 0, oldest: row.delivered_at };
    it.count++;
    it.expired += row.expired ? 1 : 0;
    if (row.delivered_at < it.oldest) it.oldest = row.delivered_at;
    workers.set(row.worker, it);
  }
  return [...workers.values()].sort((a, b) => b.count - a.count);
}

export function Pending({ name, stream, reload }) {
  const live = useLive((signal) => all(consumer(name, "/pending"), {}, signal, MOST), [name]);
  const manage = can("manage", name);
  const release = async (what, body) => {
    const text = html`<p>Another worker gets ${what} at once. If the one who has it now still works on it, it is done twice, and its ack comes too late.</p>`;
    if (!(await ask({ title: "Release", text, yes: "Release" }))) return;
    await act(() => call("POST", consumer(name, "/pending/release"), { body }), ({ released }) => `Released: ${count(released)}.`);
    live.reload();
    reload();
  };
  const workers = [
    ["Worker", (w) => (w.worker === null ? html`<span class="quiet">gave no name</span>` : html`<${Text} v=${w.worker} />`)], ["Out", (w) => count(w.count), true],
    ["Expired", (w) => count(w.expired), true], ["Oldest", (w) => html`<${Age} at=${w.oldest} />`, true],
    ...(manage ? [["", (w) => (w.worker === null ? null : html`<button aria-label=${`Release all of ${w.worker}`} onClick=${() => release(html`all that <${Text} v=${w.worker} /> has`, { worker: w.worker })}>Release all</button>`)]] : []),
  ];
  const rows = [
    message(stream), ["Worker", (row) => html`<${Text} v=${row.worker} />`], ["Delivery", (row) => count(row.deliver_count), true], ["Delivered", (row) => html`<${Time} at=${row.delivered_at} />`],
    ["Expires", (row) => html`<${Time} at=${row.expires_at} />${row.expired ? html` <span class="badge warn">expired</span>` : null}`], ["Reason", (row) => html`<${Text} v=${row.reason} />`],
    ...(manage ? [["", (row) => html`<button aria-label=${`Release ${row.id}`} onClick=${() => release(row.id, { ids: [row.id] })}>Release</button>`]] : []),
  ];
  return html`<${Loaded} live=${live}>${(found) => (found.length ? html`<h2>By worker</h2><${Table} caption="Workers" columns=${workers} rows=${byWorker(found)} keyOf=${(w) => String(w.worker)} />
    <h2>Deliveries</h2>${found.length >= MOST ? html`<p class="quiet">The first ${count(found.length)} are shown and counted.</p>` : null}<${Table} caption="What is out" columns=${rows} rows=${found} keyOf=${(row) => row.id} />`
    : html`<p class="quiet">Nothing is out.</p>`)}<//>`;
}

export function Retrying({ name, stream }) {
  const live = useLive((signal) => get(consumer(name, "/retrying"), { limit: 1000 }, signal), [name]);
  const columns = [
    message(stream), ["Deliveries", (row) => count(row.deliver_count), true], ["Due", (row) => html`<${Time} at=${row.due_at} />`], ["Reason", (row) => html`<${Text} v=${row.reason} />`],
    ["Key", (row) => html`<${Text} v=${row.key} />`], ["Waits for its key", (row) => (row.blocked ? "yes" : "no")],
  ];
  return html`<${Loaded} live=${live}>${(page) => html`<${Table} caption="What is retried" columns=${columns} rows=${page.data} keyOf=${(row) => row.id} empty="Nothing waits to be delivered again." />
    ${page.next ? html`<p class="quiet">The first ${count(page.data.length)} are shown.</p>` : null}`}<//>`;
}

/** The keys of messages that are out: the list of what is out has none. A message keeps its key, so each is asked for once. */
const keys = new Map();
async function keyed(stream, rows, signal) {
  if (!canRead()) return rows;
  if (keys.size > 1000) keys.clear();
  const name = ({ id }) => `${stream} ${id}`;
  await Promise.all(rows.filter((row) => !keys.has(name(row))).map(async (row) => {
    const found = await get(of(stream, `/messages/${encodeURIComponent(row.id)}`), {}, signal).catch(() => null);
    if (found) keys.set(name(row), found.record ? found.record.id : found.event.key);
  }));
  return rows.map((row) => ({ ...row, key: keys.get(name(row)) }));
}

/** Whose keys are held: by what is retried, and by what is out. */
export function Blocked({ name, stream, info }) {
  const live = useLive(async (signal) => {
    const [out, retried] = await Promise.all([get(consumer(name, "/pending"), { limit: 50 }, signal), get(consumer(name, "/retrying"), { limit: 200 }, signal)]);
    return [...(await keyed(stream, out.data, signal)).map((row) => ({ ...row, held: "out" })), ...retried.data.filter((row) => !row.blocked).map((row) => ({ ...row, held: "retrying" }))];
  }, [name]);
  const columns = [message(stream), ["Held by what is", (row) => row.held], ["Key", (row) => html`<${Text} v=${row.key} />`], ["Worker", (row) => html`<${Text} v=${row.worker} />`],
    ["Until", (row) => html`<${Time} at=${row.due_at || row.expires_at} />`]];
  return html`<p>${count(info.num_blocked)} messages wait for their keys. These may hold them:</p>
    <${Loaded} live=${live}>${(rows) => html`<${Table} caption="What holds keys" columns=${columns} rows=${rows} keyOf=${(row) => row.id} empty="Nothing holds a key." />`}<//>`;
}
