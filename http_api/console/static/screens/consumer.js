// One consumer: how it stands, why it stands still, and what can be done.
import { html } from "../vendor/htm-preact.js";
import { call, can, canRead, consumer, get } from "../api.js";
import { Chart } from "../chart.js";
import { drain, note, past, rate, rates } from "../history.js";
import { preview } from "../payload.js";
import { Age, Facts, Loaded, Table, Tabs, Text, Time, act, count, link, span, useLive } from "../ui.js";
import { Letters } from "./letters.js";
import { State } from "./overview.js";
import { Blocked, Pending, Retrying } from "./outstanding.js";
import { Settings } from "./settings.js";

async function load(name, signal) {
  rates();
  const found = await get(consumer(name), {}, signal);
  const { info } = found;
  note(`consumer ${name}`, {
    pending: info.num_pending, out: info.num_ack_pending, retrying: info.num_retrying, dead: info.num_dead,
    delivered: rate("delivered", name), acked: rate("acked", name),
  });
  return found;
}

/** `idle_because` in words, and what to do about it. */
function why({ name, info, max_ack_pending: most, paused_until: until, deliver_policy: policy }) {
  const tab = (key, text) => html`<a href=${link(["consumer", name], { tab: key })}>${text}</a>`;
  switch (info.idle_because) {
    case "paused": return [html`It is paused${until ? html` until <${Time} at=${until} />` : " until someone resumes it"}.`, "Resume it."];
    case "max_ack_pending": return [`${count(info.num_ack_pending)} deliveries are out, and max_ack_pending lets no more than ${count(most)} be out at once.`,
      html`See ${tab("pending", "who holds them")}: release what a dead worker holds, or raise ${tab("settings", "max_ack_pending")}.`];
    case "keys": return ["All that waits belongs to keys of which a message is out or waits for its retry.", html`See ${tab("blocked", "the blocked keys")}, and release or wait for the messages that hold them.`];
    case "retries": return ["All that waits was delivered before, and its delay is not over.", html`See ${tab("retrying", "when each is due")}; a shorter ${tab("settings", "backoff_ms")} holds for later nacks.`];
    case "start": return [html`Its start, <${Text} v=${policy} />, lies beyond what the stream holds.`, html`${tab("settings", "Reset")} it to an earlier start if it should get what is there.`];
    case "empty": return info.num_ack_pending ? ["Everything that matches was delivered; workers are at it.", html`${tab("pending", "Who has what")}.`]
      : ["Everything that matches was delivered and settled.", html`If you miss messages, compare its ${tab("settings", "filters")} with what the stream holds.`];
    default: return ["The next call of next gets a message.", info.num_ack_pending ? "" : "If the backlog does not shrink, no worker asks."];
  }
}

function Peek({ name, stream }) {
  const live = useLive((signal) => get(consumer(name, "/peek"), { limit: 20 }, signal), [name]);
  const columns = [
    ["Message", (m) => html`<a href=${link(["message", stream, m.id])}>${m.id}</a>`], ["Delivery", (m) => count(m.deliver_count), true],
    ["Collection", (m) => html`<${Text} v=${(m.record || m.event).collection_id} />`], ["Id", (m) => html`<${Text} v=${(m.record || m.event).id} />`],
    ["Data", (m) => html`<code class="line"><${Text} v=${preview((m.record || m.event).data.text)} /></code>`],
  ];
  return html`<${Loaded} live=${live}>${({ data }) => html`<${Table} caption="What comes next" columns=${columns} rows=${data} keyOf=${(m) => m.id} empty="Nothing comes next." />`}<//>`;
}

export function Consumer({ parts, query }) {
  const name = parts[1];
  const live = useLive((signal) => load(name, signal), [name], 2000);
  const tab = query.tab || "pending";
  const manage = can("manage", name);
  const pause = () => act(() => call("POST", consumer(name, "/pause"), { body: { until: null } }), "Paused: it delivers nothing; workers may still settle.").then(live.reload);
  const resume = () => act(() => call("POST", consumer(name, "/resume")), "Resumed.").then(live.reload);
  return html`<div class="head"><h1><span class="quiet">Consumer</span> <${Text} v=${name} /></h1>
    ${manage && live.value ? (live.value.paused ? html`<button class="first" onClick=${resume}>Resume</button>` : html`<button onClick=${pause}>Pause</button>`) : null}</div>
    <${Loaded} live=${live}>${(found) => {
      const { info } = found;
      const [because, fix] = why(found);
      const seen = past(`consumer ${name}`);
      const names = [["pending", `Out (${count(info.num_ack_pending)})`], ["retrying", `Retrying (${count(info.num_retrying)})`],
        ...(found.ordering === "key" ? [["blocked", `Blocked keys (${count(info.num_blocked)})`]] : []),
        ["dead", `Dead letters (${count(info.num_dead)})`], ["next", "Next"], ["settings", "Settings"]];
      return html`<section class="card why" aria-label="Why"><${State} of=${found} /> <span>${because} ${fix}</span></section>
      <${Facts} facts=${[["Stream", canRead() ? html`<a href=${link(["stream", found.stream_id])}>${found.stream_id}</a>` : found.stream_id], ["Backlog", count(info.num_pending)], ["Out", count(info.num_ack_pending)],
        ["Retrying", count(info.num_retrying)], ["Blocked", count(info.num_blocked)], ["Dead", count(info.num_dead)], ["Redelivered, out", count(info.num_redelivered)],
        ["Oldest waiting", html`<${Age} at=${info.oldest_pending_at} />`], ["Longest out", html`<${Age} at=${info.oldest_ack_pending_at} />`], ["Drained in", span(drain(seen))]]} />
      <details class="charts" open><summary>Over time</summary><div class="two"><${Chart} title="Backlog, out, dead" at=${seen.at} lines=${[["backlog", "blue", seen.pending], ["out", "green", seen.out], ["dead", "red", seen.dead]]} />
        <${Chart} title="A second" at=${seen.at} lines=${[["delivered", "blue", seen.delivered], ["acked", "green", seen.acked]]} /></div></details>
      <${Tabs} of=${["consumer", name]} at=${tab} names=${names} />
      ${tab === "pending" ? html`<${Pending} name=${name} stream=${found.stream_id} reload=${live.reload} />` : null}
      ${tab === "retrying" ? html`<${Retrying} name=${name} stream=${found.stream_id} />` : null}
      ${tab === "blocked" ? html`<${Blocked} name=${name} stream=${found.stream_id} info=${info} />` : null}
      ${tab === "dead" ? html`<${Letters} name=${name} stream=${found.stream_id} query=${query} total=${info.num_dead} reload=${live.reload} />` : null}
      ${tab === "next" ? html`<${Peek} name=${name} stream=${found.stream_id} />` : null}
      ${tab === "settings" ? html`<${Settings} key=${found.updated_at} found=${found} reload=${live.reload} />` : null}`;
    }}<//>`;
}
