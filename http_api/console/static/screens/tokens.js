// Access tokens: who may do what.
import { html, useState } from "../vendor/htm-preact.js";
import { call, can, enter, get, session } from "../api.js";
import { Copy, Field, Loaded, Table, Text, Time, act, ask, complain, useLive } from "../ui.js";

export function Tokens() {
  if (!can("admin")) return html`<h1>Tokens</h1><p class="quiet">Only a token with the scope admin sees them.</p>`;
  return html`<${List} />`;
}

function List() {
  const live = useLive((signal) => get("tokens", {}, signal), [], 5000);
  const [form, setForm] = useState({ name: "", scopes: "read", expires_in: "" });
  const [made, setMade] = useState(null);
  const input = (field, label, hint) => html`<${Field} label=${label} hint=${hint} value=${form[field]} onInput=${(e) => setForm({ ...form, [field]: e.target.value })} />`;
  const create = async (event) => {
    event.preventDefault();
    const text = html`<p>The server is open now. It asks everyone for a token from the first one on: workers without one are refused. This page goes on with the new token.</p>`;
    const first = !session.token;
    if (first && !(await ask({ title: "The first token", text, yes: "Create it" }))) return;
    try {
      const body = { name: form.name, scopes: form.scopes.split(/[\s,]+/).filter(Boolean), expires_in: form.expires_in || null };
      const token = await call("POST", "tokens", { body });
      setMade(token);
      setForm({ ...form, name: "" });
      if (first) await enter(token.token);
      live.reload();
    } catch (problem) { complain(problem); }
  };
  const revoke = async (name) => {
    if (!(await ask({ title: `Revoke ${name}`, text: html`<p>Whoever uses it is refused from now on.</p>`, yes: "Revoke" }))) return;
    await act(() => call("DELETE", `tokens/${encodeURIComponent(name)}`), "The token is revoked.");
    live.reload();
  };
  const columns = [
    ["Name", (token) => html`<${Text} v=${token.name} />`], ["Scopes", (token) => html`<${Text} v=${token.scopes.join(", ")} />`], ["Created", (token) => html`<${Time} at=${token.created_at} />`],
    ["Expires", (token) => (token.expires_at ? html`<${Time} at=${token.expires_at} />${Date.parse(token.expires_at) < Date.now() ? html` <span class="badge warn">expired</span>` : null}` : "never")],
    ["", (token) => html`<button class="danger" aria-label=${`Revoke ${token.name}`} onClick=${() => revoke(token.name)}>Revoke</button>`],
  ];
  return html`<h1>Tokens</h1>
    ${made ? html`<section class="card made" aria-label="The new token"><p><b>${made.name}</b> is made. This is the only time that its text is shown:</p><${Copy} label="token" text=${made.token} /><p><button onClick=${() => setMade(null)}>I have it</button></p></section>` : null}
    <${Loaded} live=${live}>${({ data }) => html`<${Table} caption="Access tokens" columns=${columns} rows=${data} keyOf=${(token) => token.name} empty="There are no tokens." />`}<//>
    <form class="card" onSubmit=${create}><h2>New token</h2><div class="grid">${input("name", "Name", "Whose it is.")}
      ${input("scopes", "Scopes", "admin, read, publish:STREAM, consume:CONSUMER, manage:CONSUMER, or :* for all; separated by commas.")}${input("expires_in", "Expires in", "Such as 12h or 90d; empty: never.")}</div>
      <p class="buttons"><button class="first" disabled=${!form.name || !form.scopes}>Create the token</button></p></form>`;
}
