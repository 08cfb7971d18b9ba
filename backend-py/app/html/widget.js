// A button for any page; it opens a panel with a form for questions:
//   <script src="https://owner-name.hf.space/widget.js" data-title="Ask the book" defer></script>
// The page's origin must be in the Space's CORS_ORIGINS.
const script = document.currentScript, space = new URL(script.src).origin;
const { title = "Ask the book", placeholder = "Your question" } = script.dataset;
const MOST_TURNS = 10, MOST_CHARACTERS = 4000;
const history = [];
let selected = "", stopper = null;

const host = document.createElement("div");
const root = host.attachShadow({ mode: "open" });
// Not a <style> element: the page's Content-Security-Policy may forbid inline styles.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { all: initial; color-scheme: light dark; --ground: #fff; --ink: #1a1d21;
    --line: #8a929c; --link: #0b57d0; --soft: #f1f4f8; }
  @media (prefers-color-scheme: dark) { :host { --ground: #15181c; --ink: #e8eaed;
    --line: #6b747e; --link: #8ab4f8; --soft: #21262c; } }
  * { box-sizing: border-box; font: 1rem/1.5 system-ui, sans-serif; }
  [hidden] { display: none !important; }
  #open, #panel { position: fixed; right: 1rem; bottom: 1rem; z-index: 2147483647; }
  #panel { display: flex; flex-direction: column; gap: .6rem; width: min(26rem, 100vw - 2rem);
    max-height: calc(100vh - 2rem); padding: 1rem; overflow-wrap: anywhere; color: var(--ink);
    background: var(--ground); border: 1px solid var(--line); border-radius: .6rem;
    box-shadow: 0 .5rem 2rem #0005; }
  #top { display: flex; justify-content: space-between; align-items: start; gap: 1rem; }
  h2 { font-weight: 600; margin: 0; } p, ol { margin: 0; }
  #said { overflow-y: auto; display: flex; flex-direction: column; gap: .6rem; }
  #answer { background: var(--soft); padding: 0 .7rem; border-radius: .4rem; }
  #answer > * { margin: .7rem 0; } ul, ol { padding-left: 1.4rem; }
  pre { overflow-x: auto; padding: .5rem; background: var(--ground); border: 1px solid var(--line); }
  pre, code { font-family: monospace; font-size: .9rem; } h3, strong { font-weight: 600; }
  table { border-collapse: collapse; display: block; overflow-x: auto; }
  td { border: 1px solid var(--line); padding: .2rem .5rem; }
  #answer:empty, #state:empty { display: none; }
  sup { font-size: .75em; } a { color: var(--link); }
  textarea { width: 100%; padding: .5rem; color: inherit; background: var(--ground);
    border: 1px solid var(--line); border-radius: .4rem; resize: vertical; }
  button { padding: .5rem 1rem; color: var(--ground); background: var(--link); cursor: pointer;
    border: 1px solid var(--link); border-radius: .4rem; }
  button.plain { color: var(--link); background: none; padding: 0 .5rem; }
  :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }`);
root.adoptedStyleSheets = [sheet];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const open = make("button", { id: "open", type: "button", textContent: title });
const close = make("button", { className: "plain", type: "button", textContent: "×", ariaLabel: "Close" });
const marked = make("p", { id: "marked", hidden: true });
const state = make("p", { id: "state", role: "status" });
const answer = make("div", { id: "answer" });
const sources = make("ol", { hidden: true, ariaLabel: "Sources" });
const question = make("textarea", { rows: 2, maxLength: 2000, required: true, placeholder, ariaLabel: placeholder });
const send = make("button", { textContent: "Ask" });
const form = make("form", {}, question, send);
const panel = make(
  "section", { id: "panel", hidden: true, role: "dialog", ariaLabel: title },
  make("div", { id: "top" }, make("h2", { textContent: title }), close),
  make("div", { id: "said" }, state, answer, sources), marked, form,
);
root.append(open, panel);
document.body.append(host);

function toggle(shown) {
  panel.hidden = !shown;
  open.hidden = shown;
  (shown ? question : open).focus();
}
open.addEventListener("click", () => {
  selected = String(getSelection()).trim().slice(0, 8000);
  marked.hidden = !selected;
  marked.textContent = selected && `About: “${selected.slice(0, 80)}${selected.length > 80 ? "…" : ""}”`;
  toggle(true);
});
close.addEventListener("click", () => toggle(false));
panel.addEventListener("keydown", (pressed) => {
  if (pressed.key === "Escape") toggle(false);
  if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.isComposing && pressed.target === question) {
    pressed.preventDefault();
    form.requestSubmit();
  }
});

function address(source) {
  return source.url ? new URL(source.url, space).href : "#";
}

function show(text, citations, found) {
  answer.replaceChildren(cited(text, citations, found, address));
  for (const link of answer.querySelectorAll("a")) {
    // Links of the book are relative to the Space, not to the embedding page.
    link.href = new URL(link.getAttribute("href"), space).href;
    link.target = "_blank";
  }
}

async function ask(text) {
  stopper?.abort();
  stopper = new AbortController();
  let said = "", found = [], ended = false;
  const citations = [];
  const body = { question: text, history };
  if (selected) body.selected_text = selected;
  const response = await fetch(`${space}/chat/stream`, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: stopper.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  for await (const [name, data] of events(response.body)) {
    if (name === "sources") found = data.sources;
    if (name === "delta") said += data.text;
    if (name === "citation") citations.push(data);
    if (name === "error") throw new Error(`The answer was cut short (${data.code}).`);
    if (name === "done") ended = true;
    show(said, citations, found);
  }
  if (!ended) throw new Error("The connection was lost.");
  sources.replaceChildren(...found.map((source) => make("li", {}, make("a", {
    href: address(source), target: "_blank", rel: "noopener", textContent: source.title,
  }))));
  sources.hidden = !found.length;
  history.push({ role: "user", content: text }, { role: "assistant", content: said.slice(0, MOST_CHARACTERS) });
  history.splice(0, history.length - MOST_TURNS);
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const text = question.value.trim();
  if (!text) return;
  send.disabled = true;
  sources.hidden = true;
  answer.replaceChildren();
  state.textContent = "Searching…";
  try {
    await ask(text);
    question.value = "";
    state.textContent = "";
  } catch (error) {
    state.textContent = error instanceof TypeError ? "The service cannot be reached." : error.message;
  }
  send.disabled = false;
});
