// Reads the events of a streamed answer, and shows its text with a link at the end of each citation.
"use strict";

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const found = /^event: (.*)\ndata: (.*)$/.exec(part);
      if (found) yield [found[1], JSON.parse(found[2])];
    }
  }
}

function cited(text, citations, sources, address) {
  // Offsets count Unicode characters, as Array.from does; string indices count UTF-16 units.
  const characters = Array.from(text), numbered = [];
  const sorted = [...citations].sort((a, b) => b.end - a.end);
  for (const { end, sources: ids } of sorted) {
    const numbers = ids.map((id) => sources.findIndex((source) => source.id === id) + 1).filter(Boolean);
    characters.splice(end, 0, ...numbers.map((n) => String.fromCharCode(0xe000 + numbered.push(n) - 1)));
  }
  return markdown(characters.join(""), (character) => {
    const number = numbered[character.charCodeAt(0) - 0xe000];
    if (!number) return "";
    const sup = document.createElement("sup"), link = sup.appendChild(document.createElement("a"));
    link.href = address(sources[number - 1]);
    link.textContent = `[${number}]`;
    link.setAttribute("aria-label", `Source ${number}: ${sources[number - 1].title}`);
    return sup;
  });
}
