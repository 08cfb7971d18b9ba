/** The page at `/` for a browser: describes the server, with a form to try it. */
import { createHash } from "node:crypto";

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5a6478; --line: #d5dae3; --ground: #f6f7f9; --card: #fff; --accent: #1f5fd0; --good: #14713d; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf1; --soft: #a4adbd; --line: #353c4a; --ground: #12151b; --card: #1b2028; --accent: #8db4ff; --good: #6fd39b; --bad: #ffb4ab } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 40rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem }
h2 { font-size: 1.1rem; margin: 0 0 .75rem }
p { margin: 0 0 1rem; color: var(--soft) }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem; margin-top: 1.25rem }
label { display: block; font-weight: 600; margin-bottom: .75rem }
input { display: block; width: 100%; margin-top: .25rem; padding: .6rem .7rem; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--soft); border-radius: .5rem }
.actions { display: flex; flex-wrap: wrap; gap: .5rem }
button { font: inherit; font-weight: 600; padding: .6rem 1rem; border-radius: .5rem; border: 1px solid var(--accent); background: transparent; color: var(--accent); cursor: pointer }
button.first { background: var(--accent); color: var(--card) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
output { display: block; margin-top: 1rem; font-weight: 600; overflow-wrap: anywhere }
output[data-state=good] { color: var(--good) } output[data-state=bad] { color: var(--bad) }
pre { margin: .75rem 0 0; padding: .75rem; background: var(--ground); border: 1px solid var(--line); border-radius: .5rem; overflow-x: auto; font-size: .85rem }
dl { display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; margin: 0 } dt { font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
ul { list-style: none; margin: .75rem 0 0; padding: 0 } li { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; justify-content: space-between; padding: .5rem 0; border-top: 1px solid var(--line) } li span { flex: 1 1 12rem; overflow-wrap: anywhere }
a { color: var(--accent) } code { font-size: .95em }
`;

// Signs in with a bearer token: huggingface.co shows a Space in a frame, where its cookies are third-party.
const SCRIPT = `
const form = document.querySelector("form"), status = document.querySelector("output"), details = document.querySelector("pre"), devices = document.querySelector("ul");
let token = null;
const say = (text, state) => { status.textContent = text; status.dataset.state = state };
const show = (value) => { devices.hidden = true; details.hidden = value === undefined; details.textContent = value === undefined ? "" : JSON.stringify(value, null, 2) };
async function call(method, path, body) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (token) headers.authorization = "Bearer " + token;
  const answer = await fetch("/api/auth/" + path, { method, headers, credentials: "omit", body: body && JSON.stringify(body) });
  token = answer.headers.get("set-auth-token") || token;
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.message + " (" + answer.status + " " + data.code + ")");
  return data;
}
const actions = {
  async up({ name, email, password }) { const { user } = await call("POST", "sign-up/email", { name: name || email, email, password }); show(); return "Signed up as " + user.email + "." },
  async in({ email, password }) { const { user } = await call("POST", "sign-in/email", { email, password }); show(); return "Signed in as " + user.email + "." },
  async session() { const data = await call("GET", "get-session"); if (data) delete data.session.token; show(data); return data ? "The session of " + data.user.email + "." : "No user is signed in." },
  async devices() {
    show();
    const [mine, sessions] = [await call("GET", "get-session"), await call("GET", "list-sessions")];
    devices.replaceChildren(...sessions.map((session) => row(session, session.token === mine.session.token)));
    devices.hidden = false;
    return sessions.length === 1 ? "Signed in on this device alone." : "Signed in on " + sessions.length + " devices.";
  },
  async others() { await call("POST", "revoke-other-sessions", {}); return "Signed out everywhere else. " + await actions.devices() },
  async out() { await call("POST", "sign-out"); token = null; form.reset(); devices.replaceChildren(); show(); return "Signed out." },
};
function row({ token: other, userAgent, updatedAt }, isThis) {
  const item = document.createElement("li"), text = document.createElement("span");
  text.textContent = (userAgent || "Unknown program") + ", last used " + new Date(updatedAt).toLocaleString() + (isThis ? " (this device)" : "");
  item.append(text);
  if (!isThis) {
    const end = document.createElement("button");
    end.type = "button";
    end.textContent = "Sign this device out";
    end.addEventListener("click", () => act(async () => { await call("POST", "revoke-session", { token: other }); return "Signed that device out. " + await actions.devices() }));
    item.append(end);
  }
  return item;
}
async function act(action) {
  say("Working…", "");
  try { say(await action(), "good") } catch (error) { say(error.message, "bad") }
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const action = event.submitter.value;
  if ((action === "up" || action === "in") && !form.reportValidity()) return;
  act(() => actions[action](Object.fromEntries(new FormData(form))));
});
async function watch() {
  const [health, ready] = [document.querySelector("#health"), document.querySelector("#ready")];
  try {
    const answer = await (await fetch("/health")).json();
    health.textContent = answer.status + " (database " + answer.services.database + ")";
    const state = await (await fetch("/ready")).json();
    ready.textContent = state.status ? state.status + (state.durable ? "" : ", a restart loses the accounts") : state.message;
  } catch { health.textContent = "no answer" }
}
watch();
`;

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>backend-node: sign-in server</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Sign-in server</h1>
<p>Accounts and sessions by Better Auth, under <code>/api/auth/</code>.</p>
<section aria-labelledby="try">
<h2 id="try">Try it</h2>
<form novalidate>
<label>Name <input name="name" autocomplete="name" placeholder="optional"></label>
<label>Mail address <input name="email" type="email" autocomplete="username" required></label>
<label>Password, 8 characters or more <input name="password" type="password" autocomplete="current-password" minlength="8" maxlength="128" required></label>
<div class="actions">
<button class="first" value="up">Sign up</button>
<button value="in">Sign in</button>
<button value="session">Show session</button>
<button value="devices">Show devices</button>
<button value="others">Sign out other devices</button>
<button value="out">Sign out</button>
</div>
<output aria-live="polite"></output>
<pre hidden tabindex="0" aria-label="Answer"></pre>
<ul hidden aria-label="Devices"></ul>
</form>
</section>
<section aria-labelledby="state">
<h2 id="state">State</h2>
<dl><dt><a href="/health">Health</a></dt><dd id="health">…</dd><dt><a href="/ready">Ready</a></dt><dd id="ready">…</dd></dl>
</section>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;

let policy: string | undefined;

/** The page and the content security policy that lets exactly its own style and script run. */
export function homePage(): { html: string; policy: string } {
  policy ??= [
    "default-src 'none'",
    `style-src ${sourceHash(STYLE)}`,
    `script-src ${sourceHash(SCRIPT)}`,
    "connect-src 'self'",
    "img-src data:",
    "form-action 'self'",
    "base-uri 'none'",
    // The Hub shows a Space inside its own page.
    "frame-ancestors 'self' https://huggingface.co",
  ].join("; ");
  return { html: HTML, policy };
}

function sourceHash(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
