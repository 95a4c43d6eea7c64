// Calls of /v1, and who makes them.
import { read } from "./json.js";

const KEY = "broker-token";
export const BASE = new URL("../v1/", document.baseURI);

/** An error as the API gave it. */
export class Problem extends Error {
  constructor(status, { code, summary, validation_errors }, requestId) {
    super(summary);
    Object.assign(this, { status, code, summary, fields: validation_errors || null, requestId });
  }
}

/** The token is in sessionStorage alone. `state`: in, out (a token is wanted), asking (its scopes are not known yet). */
export const session = {
  token: sessionStorage.getItem(KEY) || "",
  open: document.body.dataset.access === "open",
  scopes: [], name: "", state: "asking", why: "", away: null, paths: null,
};

const watchers = new Set();
export function watch(watcher) { watchers.add(watcher); return () => watchers.delete(watcher); }
export function changed() { for (const watcher of watchers) watcher(); }

export async function enter(token = session.token) {
  if (session.open && !token) Object.assign(session, { scopes: ["admin"], name: "", state: "in" });
  else if (!token) session.state = "out";
  else {
    session.token = token;
    try {
      const access = await call("GET", "access");
      sessionStorage.setItem(KEY, token);
      Object.assign(session, { scopes: access.scopes, name: access.name, open: access.open, state: "in", why: "" });
    } catch (problem) {
      if (problem.status !== 401) Object.assign(session, { state: "out", why: problem.summary });
    }
  }
  changed();
}

export function leave(why = "") {
  sessionStorage.removeItem(KEY);
  Object.assign(session, { token: "", scopes: [], state: "out", why, open: false });
  changed();
}

/** Whether the scopes allow an action; the API decides, the console leaves out what it would refuse. */
export function can(action, name) {
  const has = (scope) => session.scopes.includes(scope);
  if (has("admin")) return true;
  return name !== undefined && (has(`${action}:*`) || has(`${action}:${name}`));
}
export const canRead = () => session.scopes.includes("admin") || session.scopes.includes("read");

function away(problem) {
  if (Boolean(session.away) === Boolean(problem)) return;
  session.away = problem;
  changed();
}

/** One call. `body`: an object, or JSON text as it is to be sent. Problem: it was refused, or nobody answers. */
export async function call(method, path, { query = {}, body, signal } = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) if (value !== "" && value != null) url.searchParams.append(name, value);
  const headers = { Accept: "application/json" };
  if (session.token) headers.Authorization = `Bearer ${session.token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response, text;
  try {
    response = await fetch(url, {
      method, headers, signal, cache: "no-store", credentials: "omit",
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const problem = new Problem(0, { code: "UNREACHABLE", summary: "The server does not answer." }, "");
    away(problem);
    throw problem;
  }
  if (response.status !== 503 && response.status !== 504) away(null);
  if (response.ok) return read(text);
  let told;
  try { told = read(text); } catch { told = { code: `HTTP ${response.status}`, summary: text.slice(0, 300) }; }
  const problem = new Problem(response.status, told, response.headers.get("x-request-id") || "");
  if (response.status === 401) leave(problem.summary);
  if (response.status === 503) away(problem);
  throw problem;
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** All rows of a list, `most` at most. */
export async function all(path, query = {}, signal, most = 5000) {
  const rows = [];
  for (let after = ""; after !== null && rows.length < most;) {
    const page = await get(path, { ...query, limit: 1000, after }, signal);
    rows.push(...page.data);
    after = page.next;
  }
  return rows;
}

export const stream = (name, rest = "") => `streams/${encodeURIComponent(name)}${rest}`;
export const consumer = (name, rest = "") => `http-consumers/${encodeURIComponent(name)}${rest}`;

/** The addresses that this server has: what it lacks is not shown. */
export async function has(path) {
  if (!session.paths) {
    const response = await fetch(new URL("../openapi.json", BASE));
    session.paths = response.ok ? Object.keys((await response.json()).paths) : [];
  }
  return session.paths.includes(path);
}
