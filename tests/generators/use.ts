import type { components, paths } from "./ts/schema";
import { createStream, publish, next, ack } from "./hey";

// Whatever has a default may be left out.
const stream: components["schemas"]["StreamSpec"] = { name: "orders" };
const consumer: components["schemas"]["ConsumerSpec"] = {};
const event: components["schemas"]["EventMessage"] = { collection_id: "a:b", data: 1 };
const record: components["schemas"]["RecordMessage"] = { collection_id: "a:b", upstream_id: "1", data: 1 };
const nack: components["schemas"]["NackOne"] = { ack_token: "t" };
const fetched: components["schemas"]["NextRequest"] = {};
const query: paths["/v1/http-consumers/{consumer}/next"]["get"]["parameters"]["query"] = {};
const paused: boolean | undefined = ({} as components["schemas"]["ConsumerObject"]).paused;

export async function work(): Promise<number> {
  await createStream({ body: { name: "orders" } });
  await publish({ path: { stream: "orders" }, body: { messages: [{ collection_id: "a:b", data: 1 }] } });
  const batch = await next({ path: { consumer: "crm" } });
  const tokens = (batch.data?.data ?? []).map((delivery) => delivery.ack_token);
  await ack({ path: { consumer: "crm" }, body: { ack_tokens: tokens } });
  return [stream, consumer, event, record, nack, fetched, query, paused].length;
}
