// The message browser: newest first, by filters, in bounded steps, or live.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { get, stream } from "../api.js";
import { preview } from "../payload.js";
import { Field, Table, Text, Time, Trouble, count, link, place, set, timeOfId, utc } from "../ui.js";

const PAGE = 100;
const FIELDS = [["contains", "Text in data"], ["key", "Key"], ["id", "Id"], ["upstream_id", "Upstream id"], ["collection_id", "Collection"], ["resource_id", "Resource id"]];
const TIMES = [["from", "From"], ["to", "To"]];

/** A message as the browser keeps it: a line, not the payload. */
const row = ({ id, record, event }) => {
  const it = record || event;
  return { id, at: timeOfId(id), collection: it.collection_id, name: it.id, key: it.key, what: event ? it.event : it.deleted ? "deleted" : "", data: preview(it.data.text) };
};

function asked(query) {
  const what = { order: "desc", limit: PAGE };
  for (const [name] of FIELDS) what[name] = query[name];
  for (const [name] of TIMES) what[name] = utc(query[name]);
  return what;
}

function Rows({ name, rows }) {
  const columns = [
    ["Message", (m) => html`<a href=${link(["message", name, m.id])}>${m.id}</a>`], ["Appended", (m) => html`<${Time} at=${m.at} />`],
    ["Collection", (m) => html`<${Text} v=${m.collection} />`], ["Id", (m) => html`<${Text} v=${m.name} />`], ["Key", (m) => html`<${Text} v=${m.key} />`],
    ["Event", (m) => html`<${Text} v=${m.what} />`], ["Data", (m) => html`<code class="line"><${Text} v=${m.data} /></code>`],
  ];
  return html`<${Table} caption="Messages" columns=${columns} rows=${rows} keyOf=${(m) => m.id} empty="No message." first=${PAGE} />`;
}

/** Steps through the stream until a page is found, the end is reached, or someone stops it. */
function useSearch(name, query, live, turn) {
  const [state, setState] = useState({ rows: [], scanned: 0, next: "", busy: false, problem: null });
  const stop = useRef(null);
  const key = JSON.stringify(asked(query));
  async function look(rows, scanned, after) {
    stop.current?.abort();
    const control = (stop.current = new AbortController());
    const wanted = rows.length + PAGE;
    setState({ rows, scanned, next: after, busy: true, problem: null });
    try {
      do {
        const page = await get(stream(name, "/messages"), { ...asked(query), after }, control.signal);
        rows = rows.concat(page.data.map(row));
        scanned += page.scanned;
        after = page.next;
        if (!control.signal.aborted) setState({ rows, scanned, next: after, busy: after !== null && rows.length < wanted, problem: null });
      } while (after !== null && rows.length < wanted && !control.signal.aborted);
    } catch (problem) {
      if (problem.name !== "AbortError") setState({ rows, scanned, next: after, busy: false, problem });
    }
  }
  useEffect(() => {
    if (live) return () => {};
    look([], 0, "");
    return () => stop.current?.abort();
  }, [name, key, live, turn]);
  return {
    ...state,
    stop: () => { stop.current?.abort(); setState((last) => ({ ...last, busy: false })); },
    more: () => look(state.rows, state.scanned, state.next),
  };
}

function Tail({ name, query }) {
  const [rows, setRows] = useState([]);
  const [problem, setProblem] = useState(null);
  const key = JSON.stringify(asked(query));
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0, kept = [];
    async function look() {
      if (!document.hidden) {
        try {
          // From the ms of the newest one on: a filter then looks at what is new alone.
          const page = await get(stream(name, "/messages"), { ...asked(query), from: kept.length ? kept[0].at : utc(query.from) }, stop.signal);
          const fresh = page.data.map(row).filter((m) => !kept.some((old) => old.id === m.id));
          if (fresh.length) setRows((kept = fresh.concat(kept).slice(0, PAGE)));
          setProblem(null);
        } catch (why) { if (!stop.signal.aborted) setProblem(why); }
      }
      if (!stop.signal.aborted) timer = setTimeout(look, 1000);
    }
    look();
    return () => { stop.abort(); clearTimeout(timer); };
  }, [name, key]);
  return html`<p role="status" class="quiet">Live: the newest ${PAGE} that match, looked for every second.</p>${problem ? html`<${Trouble} problem=${problem} />` : null}<${Rows} name=${name} rows=${rows} />`;
}

export function Messages({ name, query }) {
  const tail = query.live === "1";
  const [form, setForm] = useState(query);
  const [turn, setTurn] = useState(0);
  const found = useSearch(name, query, tail, turn);
  const input = ([field, label], extra) => html`<${Field} label=${label} value=${form[field] || ""} ...${extra} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const names = [...FIELDS, ...TIMES].map(([field]) => field);
  const submit = (event) => { event.preventDefault(); setTurn(turn + 1); set(Object.fromEntries(names.map((field) => [field, form[field] || ""]))); };
  const clear = () => { setForm({}); set(Object.fromEntries(names.map((field) => [field, ""]))); };
  const filtered = names.some((field) => place().query[field]);
  return html`<form class="filters" role="search" aria-label="Search messages" onSubmit=${submit}>
      ${FIELDS.slice(0, 3).map((field, i) => input(field, i ? {} : { "data-search": true, type: "search" }))}
      <details open=${[...FIELDS.slice(3), ...TIMES].some(([field]) => query[field])}><summary>More filters</summary><div class="filters">${FIELDS.slice(3).map((field) => input(field))}${TIMES.map((field) => input(field, { type: "datetime-local", step: "0.001" }))}</div></details>
      <p class="buttons"><button class="first">Search</button>${filtered ? html`<button type="button" onClick=${clear}>Clear</button>` : null}
      <label><input type="checkbox" checked=${tail} onChange=${(e) => set({ live: e.target.checked ? "1" : "" })} /> Live tail</label></p></form>
    ${tail ? html`<${Tail} name=${name} query=${query} />` : html`
      <p class="quiet" role="status">${filtered || found.busy ? html`Looked at ${count(found.scanned)} messages, found ${count(found.rows.length)}. ` : null}
        ${found.busy ? html`<button onClick=${found.stop}>Stop</button>` : null}</p>
      ${found.problem ? html`<${Trouble} problem=${found.problem} />` : null}
      ${found.rows.length || !found.busy ? html`<${Rows} name=${name} rows=${found.rows} />` : null}
      ${!found.busy && found.next ? html`<p><button onClick=${found.more}>Look further</button></p>` : null}`}`;
}
