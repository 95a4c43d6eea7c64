// The frame: who is in, which screen, the keyboard.
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";
import { can, canRead, enter, has, leave, session, watch } from "./api.js";
import { Notice, Question, go, link, place } from "./ui.js";
import { Overview } from "./screens/overview.js";

// Screens by the first part of the address; each is fetched when it is first gone to.
const SCREENS = {
  stream: ["./screens/stream.js", "Stream"],
  message: ["./screens/message.js", "Message"],
  consumer: ["./screens/consumer.js", "Consumer"],
  "new-stream": ["./screens/new_stream.js", "NewStream"],
  "new-consumer": ["./screens/new_consumer.js", "NewConsumer"],
  tokens: ["./screens/tokens.js", "Tokens"],
  audit: ["./screens/audit.js", "Audit"],
};
const fetched = { "": Overview, streams: Overview, consumers: Overview };
const KEYS = [["/", "search on this page"], ["g o", "overview"], ["g s", "streams"], ["g c", "consumers"], ["g t", "tokens"], ["?", "this help"], ["Esc", "close"]];

function SignIn() {
  const [token, setToken] = useState("");
  const submit = (event) => { event.preventDefault(); enter(token.trim()); };
  return html`<main id="main" tabindex="-1"><form class="card narrow" onSubmit=${submit}><h1>Sign in</h1>
    ${session.why ? html`<div class="trouble" role="alert">${session.why}</div>` : null}
    <label class="field"><span>Access token</span><input type="password" value=${token} autofocus autocomplete="off" onInput=${(e) => setToken(e.target.value)} /></label>
    <p class="quiet">It stays in this tab. <code>broker token create NAME --scope read</code> makes one that may look and change nothing.</p>
    <p><button class="first" disabled=${!token.trim()}>Sign in</button></p></form></main>`;
}

function Help({ close }) {
  return html`<dialog open aria-labelledby="keys" class="help"><h2 id="keys">Keys</h2>
    <dl class="facts">${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
    <p class="buttons"><button autofocus onClick=${close}>Close</button></p></dialog>`;
}

function Screen({ parts, query }) {
  const kind = parts[0] || "";
  const [, setReady] = useState("");
  const Found = fetched[kind];
  useEffect(() => {
    if (Found || !SCREENS[kind]) return;
    const [file, name] = SCREENS[kind];
    import(file).then((module) => { fetched[kind] = module[name]; setReady(kind); });
  }, [kind]);
  if (Found) return html`<${Found} key=${parts.join("/")} parts=${parts} query=${query} />`;
  return SCREENS[kind] ? html`<p class="late quiet">Loading…</p>` : html`<h1>Not found</h1><p>There is no such page. <a href="#/">Overview</a></p>`;
}

function App() {
  const [, again] = useState(0);
  const [help, setHelp] = useState(false);
  const [audited, setAudited] = useState(false);
  useEffect(() => {
    let n = 0, prefix = 0;
    const redraw = () => again(++n);
    function key(event) {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key === "Escape") { setHelp(false); if (typing) event.target.blur(); }
      if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog:modal")) return;
      const afterG = Date.now() - prefix < 1500;
      prefix = event.key === "g" ? Date.now() : 0;
      if (event.key === "/") { document.querySelector("[data-search]")?.focus(); event.preventDefault(); }
      if (event.key === "?") setHelp((shown) => !shown);
      if (afterG && event.key === "o") go([]);
      if (afterG && event.key === "s") go(["streams"]);
      if (afterG && event.key === "c") go(["consumers"]);
      if (afterG && event.key === "t" && can("admin")) go(["tokens"]);
    }
    const stop = watch(redraw);
    addEventListener("hashchange", redraw);
    addEventListener("keydown", key);
    if (session.state === "asking") enter();
    return () => { stop(); removeEventListener("hashchange", redraw); removeEventListener("keydown", key); };
  }, []);
  const inside = session.state === "in";
  useEffect(() => {
    if (inside && canRead()) setTimeout(() => has("/v1/audit").then(setAudited, () => {}), 500);
  }, [inside]);
  const { parts, query } = place();
  useEffect(() => { document.title = [parts[1], parts[0], "Stream broker"].filter(Boolean).join(" · "); });
  const tab = (to, title, kinds) => html`<a href=${link(to)} aria-current=${kinds.includes(parts[0] || "") ? "page" : null}>${title}</a>`;
  return html`<a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>To the content</a>
    <header><a class="brand" href="#/">Stream broker</a>
      ${inside ? html`<nav aria-label="Main">${tab([], "Overview", [""])}${tab(["streams"], "Streams", ["streams", "stream", "message", "new-stream"])}
        ${tab(["consumers"], "Consumers", ["consumers", "consumer", "new-consumer"])}
        ${can("admin") ? tab(["tokens"], "Tokens", ["tokens"]) : null}${audited ? tab(["audit"], "Audit", ["audit"]) : null}</nav>` : null}
      <span class="who">${inside ? (session.token ? html`<span title=${session.scopes.join(", ")}>${[session.name, session.scopes.includes("admin") ? "admin" : canRead() ? "read" : "limited"].filter(Boolean).join(" · ")}</span> <button onClick=${() => leave()}>Sign out</button>`
        : html`<span class="badge warn" title="No access token was made yet: whoever reaches this address may do everything.">Open: no token</span>`) : null}
        <button class="plain" onClick=${() => setHelp(!help)} aria-label="Help">?</button></span></header>
    ${session.away ? html`<div class="away" role="alert"><b>${session.away.status ? "Redis is away." : "The server does not answer."}</b> ${session.away.status ? session.away.message : null} What is shown is from before.</div>` : null}
    <${Notice} />
    ${inside ? html`<main id="main" tabindex="-1"><${Screen} parts=${parts} query=${query} /></main>` : session.state === "out" ? html`<${SignIn} />` : html`<main id="main" class="late">Loading…</main>`}
    ${help ? html`<${Help} close=${() => setHelp(false)} />` : null}<${Question} />`;
}

if (session.open && !session.token) enter();
render(html`<${App} />`, document.getElementById("app"));
