// Lines over what was seen, as SVG: a chart library would be a third of all that the page loads.
import { html } from "./vendor/htm-preact.js";
import { count, span } from "./ui.js";

/** Points of a line in a box of 100 by `height`; nulls are left out. */
function points(values, most, height) {
  const step = 100 / Math.max(1, values.length - 1);
  return values.map((value, i) => (value === null ? null : `${(i * step).toFixed(2)},${(height - 1 - (height - 2) * value / most).toFixed(2)}`)).filter(Boolean).join(" ");
}

export function Spark({ values = [], label }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  return html`<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${label}><polyline points=${points(known, Math.max(...known, 1e-9), 24)} /></svg>`;
}

const short = (n) => (n === null ? "–" : n % 1 ? n.toFixed(1) : count(n));

/** A chart of what was seen: `lines` is [[label, class, values], …], `at` the times in s. */
export function Chart({ title, at, lines }) {
  const known = lines.flatMap(([, , values = []]) => values.filter((value) => value !== null));
  const most = Math.max(...known, 1);
  const legend = lines.map(([label, kind, values = []]) => html`<span class="legend"><i class=${kind}></i>${label} <b>${short(values.at(-1) ?? null)}</b></span>`);
  return html`<figure class="chart"><figcaption>${title} ${legend}</figcaption>
    ${at.length < 2 ? html`<p class="quiet">The lines begin when the page has looked twice.</p>` : html`<div class="plot"><span class="most">${short(most)}</span>
      <svg viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label=${`${title}: ${lines.map(([label, , values = []]) => `${label} ${short(values.at(-1) ?? null)}`).join(", ")}`}>
      ${lines.map(([, kind, values = []]) => html`<polyline class=${kind} points=${points(values, most, 60)} />`)}</svg>
      <span class="since">${span(at.at(-1) - at[0])} ago</span><span class="now">now</span></div>`}</figure>`;
}
