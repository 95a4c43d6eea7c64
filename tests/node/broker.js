// A client of the broker in one file: streams of events by the functions of the library `broker_v1` (lua/README.md).

import { createHash, randomBytes } from "node:crypto";

// Letters of fields that a stored body lacks -> what they are then.
const LACKING = {
  h: ["headers", null],
  r: ["resource_id", null],
  u: ["upstream_id", null],
  k: ["key", null],
  e: ["event", "created"],
  c: ["changes", null],
  a: ["upstream_created_at", null],
  b: ["upstream_updated_at", null],
};

// Fields of a plain client's entry that are no part of its data.
const NAMED = ["collection_id", "id", "resource_id", "upstream_id", "event", "key", "headers"];

export class Broker {
  constructor(redis) {
    this.redis = redis;
  }

  call(command, stream, ...args) {
    return this.redis.fcall(`broker_v1_${command}`, 1, `broker:{${stream}}`, ...args);
  }

  // Calls a command until it no longer replies `again`.
  async callReady(command, stream, ...args) {
    for (;;) {
      const [again, ...reply] = await this.call(command, stream, ...args);
      if (again === 0) return reply;
    }
  }

  // Sets a row of a registry; `exists` tells whether its object exists with the value that it has now.
  async setRow(registry, name, value, exists, again = false) {
    for (;;) {
      const [now, version] = await this.redis.hmget(registry, name, `:${name}`);
      if (now !== null && now !== value && (await exists(now))) throw new Error(`${name} is taken by ${now}`);
      if (now === value && !again) return;
      const set = ["set", value, name, version ?? "", randomBytes(8).toString("hex")];
      if (await this.redis.fcall("broker_v1_register", 1, registry, ...set)) return;
    }
  }

  async createStream(stream) {
    const setRow = (again) => this.setRow("broker:streams", stream, "", () => true, again);
    await setRow();
    const reply = await this.call("stream_create", stream, "kind", "events", "max_messages", "", "max_age_ms", "",
      "dedupe_window_ms", 120000, "metadata", "{}");
    if (reply === "created") await setRow(true);
    return reply;
  }

  // `filters`: key -> one pattern. The consumer's name must be free, or be one of this stream.
  async createConsumer(stream, name, filters = {}) {
    const owns = (other) => this.redis.sismember(`broker:{${other}}:consumers`, name);
    const setRow = (again) => this.setRow("broker:consumers", name, stream, owns, again);
    await setRow();
    const wanted = ["collection_id", "provider", "resource_id"].filter((key) => (filters[key] ?? "*") !== "*");
    const canonical = wanted.length ? JSON.stringify(Object.fromEntries(wanted.map((key) => [key, [filters[key]]]))) : "";
    const id = canonical && createHash("sha256").update(canonical).digest("hex").slice(0, 16);
    const epoch = randomBytes(8).toString("hex");
    const reply = await this.call("consumer_create", stream, name, "all", id, canonical, "ack_wait_ms", 30000, "max_deliver", -1,
      "max_ack_pending", 1000, "max_waiting", 512, "deliver_policy", "all", "ordering", "none", "backoff_ms", "",
      "metadata", "{}", "filters", JSON.stringify(filters), "epoch", epoch);
    if (reply !== "created") return reply;
    try {
      await setRow(true);
    } catch (taken) {
      await this.call("consumer_delete", stream, name, epoch); // another caller was faster
      throw taken;
    }
    return reply;
  }

  // Events of collection_id, id, data, [key]. Gives a status and a message id for each.
  async publish(stream, events) {
    const args = events.flatMap(({ collection_id, id, key, data }) => [
      id, collection_id, "", key === undefined ? "rukeabch" : "rueabch",
      JSON.stringify({ collection_id, key, id, provider: collection_id.split(":")[0], data }), "", "",
    ]);
    const reply = await this.call("publish_events", stream, ...args);
    return events.map((_, i) => ({ status: reply[2 * i], messageId: reply[2 * i + 1] }));
  }

  // Settle the tokens in `acks`, then fetch. Waits up to `waitMs` where there is nothing.
  async next(stream, consumer, batch, { acks = [], waitMs = 0 } = {}) {
    const end = Date.now() + waitMs;
    for (let groups = this.groups(acks); ; groups = [0]) {
      const woken = waitMs > 0 ? await this.lastWake(stream) : "$"; // asked before, so that no wake falls between
      const [epoch, , , dueIn, , seen, , settled, ...rows] = await this.callReady("next", stream, consumer, batch, 1, ...groups);
      if (settled[0] !== acks.length && groups[0]) throw new Error(`stale tokens: ${settled}`);
      const left = end - Date.now();
      if (rows.length || left <= 0) return this.deliveries(epoch, rows);
      if (dueIn !== 0) await this.wait(stream, seen, woken, dueIn < 0 ? left : Math.min(left, dueIn));
    }
  }

  async lastWake(stream) {
    const [last] = await this.redis.xrevrange(`broker:{${stream}}:wake`, "+", "-", "COUNT", 1);
    return last ? last[0] : "0-0";
  }

  // A plain client's XACK wakes nobody, so a wait is short.
  wait(stream, seen, woken, ms) {
    const key = `broker:{${stream}}`;
    return this.redis.xread("BLOCK", Math.max(1, Math.min(ms, 5000)), "STREAMS", `${key}:log`, `${key}:wake`, seen, woken);
  }

  deliveries(epoch, rows) {
    const found = [];
    for (let i = 0; i < rows.length; i += 5) {
      const [id, number, count, head, body] = rows.slice(i, i + 5);
      found.push({ id, number, epoch, count, event: this.message(head, body) });
    }
    return found;
  }

  message(head, body) {
    const [idx, lacks] = head.split(" ");
    const fields = JSON.parse(body);
    if (lacks === "plain") return { updated_idx: Number(idx), ...this.plain(fields) };
    const defaults = Object.fromEntries([...lacks].map((letter) => LACKING[letter]));
    return { updated_idx: Number(idx), ...defaults, ...fields };
  }

  // What a plain client added: names and values in one list. Without `data` the fields of its own are the data.
  plain(list) {
    const [named, data] = [{}, {}];
    for (let i = 0; i < list.length; i += 2) (NAMED.includes(list[i]) ? named : data)[list[i]] = list[i + 1];
    return { ...named, data: "data" in data ? JSON.parse(data.data) : data };
  }

  // Tokens by epoch and delivery number, as ack takes them.
  groups(deliveries) {
    const groups = new Map();
    for (const { epoch, number, id } of deliveries) {
      const group = `${epoch} ${number}`;
      if (!groups.has(group)) groups.set(group, { epoch, number, ids: [] });
      groups.get(group).ids.push(id);
    }
    return [groups.size, ...[...groups.values()].flatMap(({ epoch, number, ids }) => [epoch, number, JSON.stringify(ids)])];
  }

  async ack(stream, consumer, deliveries) {
    const [acked, ...stale] = await this.call("ack", stream, consumer, ...this.groups(deliveries));
    return { acked, stale };
  }

  async nack(stream, consumer, deliveries, { delayMs = "", outcome = "retry", reason = "" } = {}) {
    const args = deliveries.flatMap(({ epoch, id, number }) => [epoch, id, number, delayMs, outcome, reason]);
    const [nacked, ...stale] = await this.call("nack", stream, consumer, ...args);
    return { nacked, stale };
  }

  async counts(stream, consumer) {
    const [pending, out] = await this.callReady("consumer_info", stream, consumer);
    return { pending, out };
  }
}
