// Who changed what, where the server keeps it.
import { html, useState } from "../vendor/htm-preact.js";
import { get, has } from "../api.js";
import { Loaded, Table, Text, Time, useLive } from "../ui.js";

/** A row's fields as the API names them: times as times, the rest as text. */
const show = (name) => (row) => (/(^|_)(at|time)$/.test(name) ? html`<${Time} at=${row[name]} />` : html`<${Text} v=${row[name] !== null && typeof row[name] === "object" ? JSON.stringify(row[name]) : row[name]} />`);

export function Audit() {
  const [after, setAfter] = useState("");
  const live = useLive(async (signal) => ((await has("/v1/audit")) ? get("audit", { limit: 100, after }, signal) : { data: [], next: null }), [after], 0);
  return html`<h1>Audit</h1><${Loaded} live=${live}>${(page) => {
    const names = [...new Set(page.data.flatMap((row) => Object.keys(row)))];
    return html`<${Table} caption="What was changed" columns=${names.map((name) => [name.replaceAll("_", " "), show(name)])} rows=${page.data} keyOf=${(row) => JSON.stringify(row)} empty="Nothing is recorded." />
      <p class="buttons">${after ? html`<button onClick=${() => setAfter("")}>First page</button>` : null}${page.next ? html`<button onClick=${() => setAfter(page.next)}>Next page</button>` : null}</p>`;
  }}<//>`;
}
