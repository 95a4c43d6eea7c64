// A payload as a tree, of which only what is open is looked at; its raw text one click away.
import { html, useState } from "./vendor/htm-preact.js";
import { children } from "./json.js";
import { Text, bytes, count } from "./ui.js";

const ROWS = 100, LETTERS = 2000;

function Cut({ text, most = LETTERS, unit = "characters" }) {
  const [whole, setWhole] = useState(false);
  if (text.length <= most || whole) return html`<${Text} v=${text} />`;
  return html`<${Text} v=${text.slice(0, most)} />… <button class="plain" onClick=${() => setWhole(true)}>show all ${count(text.length)} ${unit}</button>`;
}

function Value({ text }) {
  if (text[0] !== '"') return html`<span class="value">${text}</span>`;
  const string = JSON.parse(text);
  return html`<span class="string">"${string === "" ? "" : html`<${Cut} text=${string} />`}"</span>`;
}

function Branch({ name, text, open: begin }) {
  const [open, setOpen] = useState(begin);
  const [most, setMost] = useState(ROWS);
  const label = name === null ? null : html`<span class="key"><${Text} v=${name} />:</span> `;
  if (text[0] !== "{" && text[0] !== "[") return html`<li>${label}<${Value} text=${text} /></li>`;
  const list = text[0] === "[";
  const rows = [];
  let more = false;
  if (open) {
    for (const child of children(text)) {
      if (rows.length === most) { more = true; break; }
      rows.push(child);
    }
  }
  const what = `${list ? "list" : "object"}, ${bytes(text.length)}`;
  return html`<li><button class="plain fold" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "▾" : "▸"} ${label || what}${name === null ? null : html`<span class="quiet">${what}</span>`}</button>
    ${open ? html`<ul>${rows.map(([key, value], i) => html`<${Branch} key=${i} name=${list ? i : key} text=${value} open=${false} />`)}
      ${more ? html`<li><button class="plain" onClick=${() => setMost(most * 10)}>show more</button></li>` : null}</ul>` : null}</li>`;
}

/** `text`: JSON as it was stored. */
export function Payload({ text, label = "Payload" }) {
  const [raw, setRaw] = useState(false);
  return html`<section class="payload" aria-label=${label}><h3>${label} <span class="quiet">${bytes(new Blob([text]).size)}</span>
    <button aria-pressed=${raw} onClick=${() => setRaw(!raw)}>Raw</button></h3>
    ${raw ? html`<pre tabindex="0" aria-label="Raw text"><${Cut} text=${text} most=${20000} /></pre>` : html`<ul class="tree"><${Branch} name=${null} text=${text.trim()} open=${text.length < 4e6} /></ul>`}</section>`;
}

/** The beginning of a payload on one line. */
export const preview = (text, most = 160) => (text.length > most ? `${text.slice(0, most)}…` : text);
