// The form of the page: sends a question, shows the streamed answer with its sources.
"use strict";

const at = (id) => document.getElementById(id);
let answerId = "", stopper = null;

function showSources(sources) {
  at("sources").replaceChildren(...sources.map((source) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = source.url || "#question";
    link.textContent = source.title;
    const snippet = document.createElement("p");
    snippet.className = "snippet quiet";
    snippet.textContent = source.snippet.replace(/```[^]*?```|[*`]/g, "").replace(/\s+/g, " ").trim();
    item.append(link, snippet);
    return item;
  }));
  at("found").hidden = !sources.length;
}

async function ask(question) {
  stopper = new AbortController();
  let text = "", sources = [], mode = "", ended = false;
  const citations = [];
  const response = await fetch("/chat/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ question }),
    signal: stopper.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  for await (const [name, data] of events(response.body)) {
    if (name === "meta") { answerId = data.id; mode = data.mode; }
    if (name === "sources") sources = data.sources;
    if (name === "delta") text += data.text;
    if (name === "citation") citations.push(data);
    if (name === "error") throw new Error(`The answer was cut short (${data.code}).`);
    if (name === "done") ended = true;
    at("answer").replaceChildren(cited(text, citations, sources, (source) => source.url || "#sources"));
  }
  if (!ended) throw new Error("The connection was lost.");
  at("sources-title").textContent = mode === "none" ? "Nearest sections" : "Sources";
  showSources(sources);
}

at("form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  at("ask").disabled = true;
  at("stop").hidden = false;
  at("found").hidden = true;
  at("answer").replaceChildren();
  at("answer").setAttribute("aria-busy", "true");
  at("state").textContent = "Searching the book…";
  try {
    await ask(at("question").value);
    at("state").textContent = "";
  } catch (error) {
    at("state").textContent = error.name === "AbortError" ? "Stopped." : error.message;
  }
  at("answer").setAttribute("aria-busy", "false");
  at("ask").disabled = false;
  at("stop").hidden = true;
});
at("question").addEventListener("keydown", (key) => {
  // While an input method composes a word, Enter accepts that word.
  if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
  key.preventDefault();
  if (!at("ask").disabled) at("form").requestSubmit();
});
at("stop").addEventListener("click", () => stopper?.abort());
for (const example of document.querySelectorAll("[data-example]")) {
  example.addEventListener("click", () => {
    at("question").value = example.textContent;
    if (!at("ask").disabled) at("form").requestSubmit();
  });
}
for (const button of document.querySelectorAll("[data-rating]")) {
  button.addEventListener("click", async () => {
    const response = await fetch("/feedback", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ id: answerId, rating: Number(button.dataset.rating) }),
    });
    at("state").textContent = response.ok ? "Thank you." : "Your rating could not be stored.";
  });
}
