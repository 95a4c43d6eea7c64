// JSON that keeps what it was: JSON.parse would round numbers, sort keys such as "10", and nest as deep as the stack.

/** A JSON value as its very text. Payloads stay so until someone looks inside. */
export class Raw {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
}

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /[^,\]}\s]+/y;
const MARK = /["{}[\]]/g;

function space(text, at) {
  SPACE.lastIndex = at;
  SPACE.test(text);
  return SPACE.lastIndex;
}

function stringEnd(text, at) {
  for (let end = at; ;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
}

/** Where the value that begins at `at` ends. Nothing recurses. */
export function valueEnd(text, at) {
  const first = text[at];
  if (first === '"') return stringEnd(text, at);
  if (first !== "{" && first !== "[") {
    SCALAR.lastIndex = at;
    return SCALAR.test(text) ? SCALAR.lastIndex : text.length;
  }
  let depth = 0;
  MARK.lastIndex = at;
  for (let found; (found = MARK.exec(text));) {
    const mark = found[0];
    if (mark === '"') MARK.lastIndex = stringEnd(text, found.index);
    else depth += mark === "{" || mark === "[" ? 1 : -1;
    if (depth === 0) return MARK.lastIndex;
  }
  return text.length;
}

/** The children of an object or a list: [key or null, text of the value]. */
export function* children(text) {
  let at = space(text, space(text, 0) + 1);
  const named = text.trimStart()[0] === "{";
  while (at < text.length && text[at] !== "}" && text[at] !== "]") {
    let key = null;
    if (named) {
      const end = stringEnd(text, at);
      key = JSON.parse(text.slice(at, end));
      at = space(text, space(text, end) + 1);
    }
    const end = valueEnd(text, at);
    yield [key, text.slice(at, end)];
    at = space(text, end);
    if (text[at] === ",") at = space(text, at + 1);
  }
}

const KEPT = new Set(["changes", "metadata", "headers"]);

/** An answer of the API. Payloads and other objects of users come as Raw; a number that JavaScript would change comes as its text. */
export function read(text, label = "") {
  text = text.trim();
  if (text[0] === "[") return Array.from(children(text), ([, value]) => read(value));
  if (text[0] === "{") {
    const found = Object.create(null);
    for (const [key, value] of children(text)) {
      const kept = KEPT.has(key) || (key === "data" && (label === "record" || label === "event"));
      found[key] = kept ? (value === "null" && key !== "data" ? null : new Raw(value)) : read(value, key);
    }
    return found;
  }
  const value = JSON.parse(text);
  return typeof value === "number" && String(value) !== text ? text : value;
}
