// Dead letters: in groups, one by one, redriven, purged, mended.
import { html, useState } from "../vendor/htm-preact.js";
import { call, can, consumer, get } from "../api.js";
import { preview } from "../payload.js";
import { Field, Loaded, Table, Text, Time, act, ask, complain, count, go, link, set, useLive, utc } from "../ui.js";
import { edit } from "./publish.js";

const MOST = 1000;
const NAMES = ["reason", "collection_id", "why", "from", "to"];

/** The letters that fit, MOST at most. The API chooses by reason and collection; time and the worker's words are looked at here. */
async function load(name, { reason, collection_id: collection, why, from, to }, signal) {
  const rows = [];
  const [low, high] = [utc(from), utc(to)];
  let after = "", looked = 0;
  while (after !== null && rows.length < MOST && looked < 20 * MOST) {
    const page = await get(consumer(name, "/dead-letters"), { reason, collection_id: collection, limit: 500, after }, signal);
    looked += page.data.length;
    for (const row of page.data) {
      if ((!why || (row.last_nack_reason || "").includes(why)) && (!low || row.dead_at >= low) && (!high || row.dead_at <= high)) rows.push(letter(row));
    }
    after = page.next;
  }
  return { rows: rows.slice(0, MOST), more: after !== null || rows.length > MOST };
}
const letter = ({ id, reason, last_nack_reason, last_worker, dead_at, deliver_count, record, event }) => {
  const it = record || event;
  return { id, reason, last_nack_reason, last_worker, dead_at, deliver_count, collection: it.collection_id, name: it.id, data: preview(it.data.text, 80) };
};

function Groups({ name, total }) {
  const live = useLive((signal) => get(consumer(name, "/dead-letters/summary"), {}, signal), [name, total], 0);
  const columns = [
    ["Reason", (g) => g.reason], ["The worker said", (g) => html`<${Text} v=${g.last_nack_reason} />`], ["Collection", (g) => html`<${Text} v=${g.collection_id} />`], ["Letters", (g) => count(g.count), true],
    ["First", (g) => html`<${Time} at=${g.first_dead_at} />`], ["Last", (g) => html`<${Time} at=${g.last_dead_at} />`],
    ["", (g) => html`<button aria-label=${`Look at ${g.last_nack_reason || g.reason}`} onClick=${() => set({ reason: g.reason, collection_id: g.collection_id, why: g.last_nack_reason })}>Look</button>`],
  ];
  return html`<${Loaded} live=${live}>${(summary) => html`<h2>Grouped by reason</h2>
    ${summary.truncated ? html`<p class="quiet">Counted over the first 10 000 of ${count(summary.total)}.</p>` : null}
    <${Table} caption="Groups of dead letters" columns=${columns} rows=${summary.groups} keyOf=${(g) => JSON.stringify([g.reason, g.last_nack_reason, g.collection_id])} empty="No dead letter." />`}<//>`;
}

export function Letters({ name, stream, query, total, reload }) {
  const key = NAMES.map((field) => query[field] || "").join("\n");
  const live = useLive((signal) => load(name, query, signal), [name, key, total], 0);
  const [form, setForm] = useState({});
  const [chosen, setChosen] = useState(new Set());
  const manage = can("manage", name), admin = can("admin");
  const path = consumer(name, "/dead-letters");
  const after = () => { setChosen(new Set()); live.reload(); reload(); };
  const value = (field) => form[field] ?? query[field] ?? "";
  const input = (field, label, extra = {}) => html`<${Field} label=${label} value=${value(field)} ...${extra} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const search = (event) => { event.preventDefault(); set(Object.fromEntries(NAMES.map((field) => [field, value(field)]))); setForm({}); setChosen(new Set()); };
  const clear = () => { setForm({}); set(Object.fromEntries(NAMES.map((field) => [field, ""]))); };
  const filtered = NAMES.some((field) => query[field]);

  const redriveIds = async (ids) => {
    try {
      const { redriven, gone } = await call("POST", `${path}/redrive`, { body: { ids, dry_run: true } });
      const text = html`<p>${count(redriven)} would be delivered again to this consumer, with deliver counts from 1. ${gone ? `${count(gone)} are no longer in the stream and stay.` : ""}</p>`;
      if (!(await ask({ title: "Redrive", text, yes: `Redrive ${count(redriven)}` }))) return;
    } catch (problem) { complain(problem); return; }
    await act(() => call("POST", `${path}/redrive`, { body: { ids } }), (done) => `Redriven: ${count(done.redriven)}. Gone: ${count(done.gone)}.`);
    after();
  };
  const dryRun = () => act(() => call("POST", `${path}/redrive`, { body: { dry_run: true } }), ({ redriven, gone }) => `A redrive of all would put back ${count(redriven)}; ${count(gone)} are no longer in the stream.`);
  const redriveAll = async () => {
    if (!(await ask({ title: "Redrive all", text: html`<p>All ${count(total)} dead letters are delivered again to this consumer.</p>`, yes: "Redrive all" }))) return;
    await act(() => call("POST", `${path}/redrive`, { body: {} }), (done) => `Redriven: ${count(done.redriven)}. Gone: ${count(done.gone)}.`);
    after();
  };
  const purge = async (ids) => {
    const n = ids ? ids.length : total;
    const text = html`<p>${count(n)} dead letters are forgotten for good. The messages stay in the stream.</p>`;
    if (!(await ask({ title: ids ? "Purge the chosen" : "Purge all", text, yes: `Purge ${count(n)}`, typed: name }))) return;
    await act(async () => {
      let purged = 0;
      if (!ids) ({ purged } = await call("DELETE", path, { query: { all: "true" } }));
      else for (let at = 0; at < ids.length; at += 100) purged += (await call("DELETE", path, { query: { ids: ids.slice(at, at + 100).join(",") } })).purged;
      return purged;
    }, (purged) => `Purged: ${count(purged)}.`);
    after();
  };
  const mend = async (id) => {
    try {
      edit(await get(`streams/${encodeURIComponent(stream)}/messages/${encodeURIComponent(id)}`));
      go(["stream", stream], { tab: "publish" });
    } catch (problem) { complain(problem); }
  };
  const choose = (id, on) => { const next = new Set(chosen); if (on) next.add(id); else next.delete(id); setChosen(next); };
  const columns = [
    ...(manage ? [["Choose", (row) => html`<input type="checkbox" aria-label=${`Choose ${row.id}`} checked=${chosen.has(row.id)} onChange=${(e) => choose(row.id, e.target.checked)} />`]] : []),
    ["Message", (row) => html`<a href=${link(["message", stream, row.id])}>${row.id}</a>`], ["Collection", (row) => html`<${Text} v=${row.collection} />`], ["Id", (row) => html`<${Text} v=${row.name} />`],
    ["Reason", (row) => row.reason], ["The worker said", (row) => html`<${Text} v=${row.last_nack_reason} />`], ["Deliveries", (row) => count(row.deliver_count), true],
    ["Last worker", (row) => html`<${Text} v=${row.last_worker} />`], ["Dead since", (row) => html`<${Time} at=${row.dead_at} />`], ["Data", (row) => html`<code class="line"><${Text} v=${row.data} /></code>`],
    ...(can("publish", stream) ? [["", (row) => html`<button aria-label=${`Edit and publish ${row.id}`} onClick=${() => mend(row.id)}>Edit</button>`]] : []),
  ];
  return html`<${Groups} name=${name} total=${total} /><h2>Letters</h2>
    <form class="filters" role="search" aria-label="Search dead letters" onSubmit=${search}>
      <${Field} label="Reason" value=${value("reason")} options=${[["", "any"], ["max_deliver", "max_deliver"], ["rejected", "rejected"]]} onChange=${(e) => setForm({ ...form, reason: e.target.value })} />
      ${input("why", "The worker said", { "data-search": true })}${input("collection_id", "Collection")}${input("from", "Dead from", { type: "datetime-local", step: "0.001" })}${input("to", "Dead to", { type: "datetime-local", step: "0.001" })}
      <p class="buttons"><button class="first">Search</button>${filtered ? html`<button type="button" onClick=${clear}>Clear</button>` : null}</p></form>
    <${Loaded} live=${live}>${({ rows, more }) => html`
      ${manage && total ? html`<p class="buttons">
        ${filtered && rows.length ? html`<button onClick=${() => redriveIds(rows.map((row) => row.id))}>Redrive these ${count(rows.length)}</button>` : null}
        <button disabled=${!chosen.size} onClick=${() => redriveIds([...chosen])}>Redrive chosen (${chosen.size})</button>
        ${admin ? html`<button class="danger" disabled=${!chosen.size} onClick=${() => purge([...chosen])}>Purge chosen (${chosen.size})</button>` : null}
        ${filtered ? null : html`<button onClick=${dryRun}>Dry run of all</button><button onClick=${redriveAll}>Redrive all</button>${admin ? html`<button class="danger" onClick=${() => purge(null)}>Purge all</button>` : null}`}</p>` : null}
      ${more ? html`<p class="quiet">The first ${count(rows.length)} are shown.</p>` : null}
      <${Table} caption="Dead letters" columns=${columns} rows=${rows} keyOf=${(row) => row.id} empty=${filtered ? "No dead letter fits." : "No dead letter."} />`}<//>`;
}
