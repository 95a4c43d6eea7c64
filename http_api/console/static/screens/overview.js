// All streams and consumers, those first that hurt.
import { html } from "../vendor/htm-preact.js";
import { all, can, canRead, consumer, get, session } from "../api.js";
import { Spark } from "../chart.js";
import { drain, note, past, rate, rates } from "../history.js";
import { Age, Field, Loaded, Table, Text, ageOf, bytes, count, link, set, span, useLive } from "../ui.js";

/** Consumers that the scopes let one see. */
async function consumers(signal) {
  if (canRead()) return all("http-consumers", { info: true }, signal);
  const named = session.scopes.filter((scope) => scope.startsWith("consume:") && scope !== "consume:*").map((scope) => scope.slice(8));
  return Promise.all(named.map((name) => get(consumer(name), {}, signal)));
}

async function load(signal) {
  rates();
  const [streams, found] = await Promise.all([canRead() ? all("streams", {}, signal) : [], consumers(signal)]);
  for (const { name, info } of streams) note(`stream ${name}`, { messages: info.messages, published: rate("published", name) });
  for (const { name, info } of found) {
    note(`consumer ${name}`, {
      pending: info.num_pending, out: info.num_ack_pending, retrying: info.num_retrying, dead: info.num_dead,
      delivered: rate("delivered", name), acked: rate("acked", name),
    });
  }
  return { streams, consumers: found.sort((a, b) => hurt(b) - hurt(a) || (a.name < b.name ? -1 : 1)) };
}

/** How much a consumer hurts: standing still before a backlog, dead letters, retries, age, backlog. */
export function hurt({ info, paused }) {
  const stuck = info.num_pending > 0 && ["max_ack_pending", "keys", "start"].includes(info.idle_because);
  return (stuck ? 1e9 : 0) + (info.num_dead ? 1e8 : 0) + (paused && info.num_pending ? 1e7 : 0) + (info.num_retrying ? 1e6 : 0)
    + Math.min(9e5, ageOf(info.oldest_pending_at) || 0) + Math.min(1e5, info.num_pending / 1e3);
}

export function State({ of: { info, paused } }) {
  if (paused) return html`<span class="badge warn">paused</span>`;
  if (["max_ack_pending", "keys", "start"].includes(info.idle_because)) return html`<span class="badge bad">${info.idle_because}</span>`;
  if (info.idle_because === "retries") return html`<span class="badge warn">retries</span>`;
  return info.idle_because === "empty" ? html`<span class="badge good">${info.num_ack_pending ? "working" : "up to date"}</span>` : html`<span class="badge">backlog</span>`;
}
const number = (n, bad) => (n ? html`<span class=${bad ? "bad" : ""}>${count(n)}</span>` : html`<span class="quiet">0</span>`);
const last = (name, kind) => { const list = past(name)[kind] || []; return list.at(-1) ?? null; };
const aSecond = (n) => (n === null ? "" : `${n < 10 ? n.toFixed(1) : count(Math.round(n))}/s `);

const STREAMS = [
  ["Stream", (s) => html`<a href=${link(["stream", s.name])}>${s.name}</a>`],
  ["Kind", (s) => s.kind],
  ["Messages", (s) => count(s.info.messages), true],
  ["Size", (s) => bytes(s.info.bytes), true],
  ["Consumers", (s) => count(s.info.consumers), true],
  ["Published", (s) => html`<span>${aSecond(last(`stream ${s.name}`, "published"))}<${Spark} values=${past(`stream ${s.name}`).published} label=${`Published a second to ${s.name}`} /></span>`],
];
const CONSUMERS = [
  ["Consumer", (c) => html`<a href=${link(["consumer", c.name])}>${c.name}</a>`],
  ["Stream", (c) => (canRead() ? html`<a href=${link(["stream", c.stream_id])}>${c.stream_id}</a>` : html`<${Text} v=${c.stream_id} />`)],
  ["State", (c) => html`<${State} of=${c} />`],
  ["Backlog", (c) => number(c.info.num_pending), true],
  ["Out", (c) => number(c.info.num_ack_pending), true],
  ["Retrying", (c) => number(c.info.num_retrying), true],
  ["Dead", (c) => number(c.info.num_dead, true), true],
  ["Oldest", (c) => html`<${Age} at=${c.info.oldest_pending_at} />`, true],
  ["Drained in", (c) => span(drain(past(`consumer ${c.name}`))), true],
  ["Delivered", (c) => html`<span>${aSecond(last(`consumer ${c.name}`, "delivered"))}<${Spark} values=${past(`consumer ${c.name}`).delivered} label=${`Delivered a second to ${c.name}`} /></span>`],
  ["Acked", (c) => html`<span>${aSecond(last(`consumer ${c.name}`, "acked"))}<${Spark} values=${past(`consumer ${c.name}`).acked} label=${`Acked a second by ${c.name}`} /></span>`],
];

export function Overview({ parts, query }) {
  const live = useLive(load, [session.name, session.state], 3000);
  const only = parts[0];
  const q = (query.q || "").toLowerCase();
  const fits = ({ name, stream_id: stream = "" }) => name.toLowerCase().includes(q) || stream.toLowerCase().includes(q);
  return html`<div class="head"><h1>${only === "streams" ? "Streams" : only === "consumers" ? "Consumers" : "Overview"}</h1>
    <${Field} label="Search by name" type="search" data-search value=${query.q || ""} onInput=${(e) => set({ q: e.target.value })} /></div>
    <${Loaded} live=${live}>${({ streams, consumers: found }) => html`
      ${only === "consumers" ? null : canRead() ? html`<section aria-labelledby="streams"><div class="head"><h2 id="streams">Streams <span class="quiet">${count(streams.length)}</span></h2>
        ${can("admin") ? html`<a class="button" href="#/new-stream">New stream</a>` : null}</div>
        <${Table} caption="Streams" columns=${STREAMS} rows=${streams.filter(fits)} keyOf=${(s) => s.name} /></section>`
        : html`<p class="quiet">This token may not list streams and consumers: only those that its scopes name are shown.</p>`}
      ${only === "streams" ? null : html`<section aria-labelledby="consumers"><div class="head"><h2 id="consumers">Consumers <span class="quiet">${count(found.length)}</span></h2>
        ${can("admin") ? html`<a class="button" href="#/new-consumer">New consumer</a>` : null}</div>
        <${Table} caption="Consumers" columns=${CONSUMERS} rows=${found.filter(fits)} keyOf=${(c) => c.name} empty="No consumer yet." /></section>`}`}<//>`;
}
