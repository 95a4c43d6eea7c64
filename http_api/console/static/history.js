// What the page has seen of the counts since it was opened: the broker keeps no history.
import { BASE, session } from "./api.js";

const KEPT = 150;
const seen = new Map();

/** Note values of something at this moment, and give all that was noted of it: {at: [s], NAME: [value], …}. */
export function note(what, values) {
  let past = seen.get(what);
  if (!past) seen.set(what, (past = { at: [] }));
  const now = Date.now() / 1000;
  if (past.at.length && now - past.at.at(-1) < 0.9) return past;
  past.at.push(now);
  for (const [name, value] of Object.entries(values)) {
    past[name] ??= Array(past.at.length - 1).fill(null);
    past[name].push(value ?? null);
  }
  for (const list of Object.values(past)) if (list.length > KEPT) list.shift();
  return past;
}
export const past = (what) => seen.get(what) || { at: [] };

/** Seconds until the backlog is gone at the pace of the last minute; null: it does not shrink, or nobody knows yet. */
export function drain({ at, pending = [] }) {
  const last = at.length - 1;
  let first = Math.max(0, last - 20);
  while (first < last && pending[first] === null) first++;
  if (last - first < 2 || !pending[last]) return null;
  const pace = (pending[first] - pending[last]) / (at[last] - at[first]);
  return pace > 0 ? pending[last] / pace : null;
}

const ROW = /^(broker_(?:stream_published|published|delivered|settled)_total|process_start_time_seconds)(?:{(.*)})? (\S+)$/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const before = new Map();
let refused = false, asked = 0, current = null;

/** Rates a second by the counters of /metrics: Map of "published STREAM", "delivered CONSUMER", "acked CONSUMER". Null where there are none.
 *  Behind a load balancer each scrape may be another server's; one is compared with itself alone. */
export async function rates() {
  const now = Date.now();
  if (refused || now - asked < 4500) return current;
  asked = now;
  const headers = session.token ? { Authorization: `Bearer ${session.token}` } : {};
  const response = await fetch(new URL("../metrics", BASE), { headers, cache: "no-store" }).catch(() => null);
  if (!response) return current;
  if (!response.ok) {
    refused = response.status < 500;
    return (current = null);
  }
  const counts = new Map(), streams = new Map();
  let server = "";
  for (const [, name, labels, value] of (await response.text()).matchAll(ROW)) {
    if (!labels) { server = value; continue; }
    const of = Object.fromEntries(Array.from(labels.matchAll(LABEL), ([, key, text]) => [key, text]));
    const add = (map, key) => map.set(key, (map.get(key) || 0) + Number(value));
    if (name.startsWith("broker_stream")) add(streams, `published ${of.stream}`);
    else if (name.startsWith("broker_published")) {
      if (["created", "updated", "deleted"].includes(of.status)) add(counts, `published ${of.stream}`);
    } else if (name.startsWith("broker_delivered")) add(counts, `delivered ${of.consumer}`);
    else if (of.outcome === "ack") add(counts, `acked ${of.consumer}`);
  }
  for (const [key, value] of streams) counts.set(key, value);
  const earlier = before.get(server);
  if (before.size > 50) before.clear();
  before.set(server, { now, counts });
  if (!earlier || now - earlier.now < 1000) return current;
  current = new Map();
  for (const [key, value] of counts) current.set(key, Math.max(0, value - (earlier.counts.get(key) || 0)) * 1000 / (now - earlier.now));
  return current;
}
export const rate = (kind, name) => (current ? current.get(`${kind} ${name}`) ?? 0 : null);
