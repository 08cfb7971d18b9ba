// Converts Markdown to elements. Text becomes text nodes, so HTML in an answer is never parsed. Supports
// paragraphs, lists, tables, headings, code, emphasis and links; other markup stays as plain text.
"use strict";

function markdown(text, mark) {
  const out = document.createDocumentFragment(), lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    const fence = /^\s*(`{3,}|~{3,})/.exec(lines[at]);
    if (fence) at = code(out, lines, at, fence[1], mark);
    else if (!lines[at].trim()) at += 1;
    else if (LIST.test(lines[at])) at = list(out, lines, at, mark);
    else if (lines[at].startsWith("| ")) at = table(out, lines, at, mark);
    else at = paragraph(out, lines, at, mark);
  }
  return out;
}

const LIST = /^(\s*)([-*]|\d+\.)\s+(.*)$/;
// A private-use character stands for a citation by its number while the text is converted.
const MARKS = /[\ue000-\uf8ff]/g;

function code(out, lines, at, fence, mark) {
  const pre = out.appendChild(document.createElement("pre")), kept = [], marks = [];
  // Long lines scroll; tabIndex makes them scroll by keyboard too.
  pre.tabIndex = 0;
  for (at += 1; at < lines.length; at += 1) {
    marks.push(...(lines[at].match(MARKS) ?? []));
    if (lines[at].replace(MARKS, "").trim() === fence) { at += 1; break; }
    kept.push(lines[at].replace(MARKS, ""));
  }
  pre.appendChild(document.createElement("code")).textContent = kept.join("\n");
  if (marks.length) inline(out.appendChild(document.createElement("p")), marks.join(""), mark);
  return at;
}

function list(out, lines, at, mark) {
  const open = [];
  for (let found; at < lines.length && (found = LIST.exec(lines[at])); at += 1) {
    const [, indent, bullet, text] = found, deep = indent.length;
    while (open.length && open.at(-1).deep > deep) open.pop();
    if (!open.length || open.at(-1).deep < deep) {
      const made = document.createElement(/\d/.test(bullet) ? "ol" : "ul");
      if (/\d/.test(bullet)) made.start = parseInt(bullet, 10);
      (open.at(-1)?.list.lastElementChild ?? out).append(made);
      open.push({ deep, list: made });
    }
    inline(open.at(-1).list.appendChild(document.createElement("li")), text, mark);
  }
  return at;
}

function table(out, lines, at, mark) {
  const body = out.appendChild(document.createElement("table"));
  for (; at < lines.length && lines[at].startsWith("| "); at += 1) {
    const row = body.appendChild(document.createElement("tr"));
    for (const cell of lines[at].slice(2).split(" | ")) {
      inline(row.appendChild(document.createElement("td")), cell, mark);
    }
  }
  return at;
}

function paragraph(out, lines, at, mark) {
  const heading = /^#{1,6}\s+(.*)$/.exec(lines[at]);
  if (heading) {
    inline(out.appendChild(document.createElement("h3")), heading[1], mark);
    return at + 1;
  }
  const kept = [];
  while (at < lines.length && lines[at].trim() && !LIST.test(lines[at]) && !/^\s*(```|~~~)/.test(lines[at])) {
    kept.push(lines[at]);
    at += 1;
  }
  inline(out.appendChild(document.createElement("p")), kept.join("\n"), mark);
  return at;
}

function inline(parent, text, mark) {
  const parts = /(`+)(.+?)\1|\*\*(.+?)\*\*|\[([^\]\n]+)\]\(([^)\s]+)\)|([\ue000-\uf8ff])/gs;
  let shown = 0;
  for (const found of text.matchAll(parts)) {
    parent.append(text.slice(shown, found.index));
    shown = found.index + found[0].length;
    const [, , quoted, strong, label, address, private_] = found;
    if (private_) parent.append(mark(private_));
    else if (quoted) parent.appendChild(document.createElement("code")).textContent = quoted;
    else if (strong) inline(parent.appendChild(document.createElement("strong")), strong, mark);
    else if (/^(https?:\/\/|\/(?!\/)|#)/.test(address)) {
      const link = parent.appendChild(document.createElement("a"));
      link.href = address;
      link.rel = "noopener";
      inline(link, label, mark);
    } else parent.append(found[0]);
  }
  parent.append(text.slice(shown));
}
