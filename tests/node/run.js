// Publishes half of the events and works on all of them beside other workers: node run.js SOCKET STREAM CONSUMER EVENTS
// Prints a line of JSON for each delivery that it acked; ends when nothing waits and nothing is out.

import { Redis } from "ioredis";
import { Broker } from "./broker.js";

const [socket, stream, consumer, events] = process.argv.slice(2);
const WORKERS = 2;

const redis = new Redis(socket);
const broker = new Broker(redis);

function check(found, wanted) {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

check(await broker.createStream(stream), "created");
check(await broker.createStream(stream), "exists");
check(await broker.createConsumer(stream, consumer, { provider: "node" }), "created");
await broker.createConsumer("nowhere", "nobody").then(
  () => { throw new Error("a consumer of no stream"); },
  (error) => check(error.message.split(" ")[0], "STREAM_NOT_FOUND"),
);
await redis.hdel("broker:consumers", "nobody");

const event = (n) => ({ collection_id: "node:events", id: `node-${n}`, data: { n, text: "é\n" } });
check(await broker.next(stream, consumer, 1, { waitMs: 20 }), []);
check((await broker.publish(stream, [event(0), event(0)])).map(({ status }) => status), ["created", "duplicate"]);
const [first] = await broker.next(stream, consumer, 1);
check([first.count, first.event.id, first.event.data, first.event.key, first.event.provider], [1, "node-0", event(0).data, null, "node"]);
check(await broker.nack(stream, consumer, [first], { delayMs: 0, reason: "again" }), { nacked: 1, stale: [] });
const [again] = await broker.next(stream, consumer, 1);
check([again.id, again.count], [first.id, 2]);
check(await broker.ack(stream, consumer, [first, again]), { acked: 1, stale: [1] });
console.log(JSON.stringify({ id: again.id, event: again.event }));
console.log("ready"); // others may join

async function publish() {
  for (let n = 1; n < Number(events); n += 5) {
    await broker.publish(stream, [...Array(Math.min(5, events - n)).keys()].map((i) => event(n + i)));
    await new Promise((done) => setTimeout(done, 10));
  }
}

let publishing = true;

async function work(number) {
  const own = redis.duplicate(); // a wait holds its connection
  const mine = new Broker(own);
  let acks = [];
  for (;;) {
    const batch = await mine.next(stream, consumer, 3, { acks, waitMs: 200 });
    for (const { id, event } of acks) console.log(JSON.stringify({ id, event }));
    const spoiled = batch.filter(({ count, event }) => count === 1 && event.updated_idx % 10 === number);
    if (spoiled.length) check(await mine.nack(stream, consumer, spoiled, { delayMs: 10 }), { nacked: spoiled.length, stale: [] });
    acks = batch.filter((delivery) => !spoiled.includes(delivery));
    await new Promise((done) => setTimeout(done, 2)); // the work
    if (!batch.length && !publishing) {
      const { pending, out } = await mine.counts(stream, consumer);
      if (pending + out === 0) break;
    }
  }
  own.disconnect();
}

await Promise.all([publish().then(() => { publishing = false; }), ...[...Array(WORKERS).keys()].map(work)]);
redis.disconnect();
