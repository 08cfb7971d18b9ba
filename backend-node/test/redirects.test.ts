import assert from "node:assert/strict";
import test, { after } from "node:test";
import { staysHere } from "../redirects.ts";
import { ORIGIN, startServer } from "./server.ts";

const BASE = "https://auth.example";
const TRUSTED = new Set([BASE, ORIGIN]);

/** Targets that a browser, or the library's normalisation, resolves to another host. */
const AWAY = [
  "https://evil.example",
  "//evil.example",
  "///evil.example",
  "/\\evil.example",
  "\\\\evil.example",
  "/\t/evil.example",
  "\n//evil.example",
  "/..//evil.example",
  "/.//evil.example",
  "/a/..//evil.example",
  "/a/../..//evil.example",
  "/../..//evil.example",
  "/..///evil.example",
  "/%2e%2e//evil.example",
  "/%2E%2E//evil.example",
  "/.%2e//evil.example",
  "/%2e//evil.example",
  "/..\\/evil.example",
  "/../\\evil.example",
  "/..%2f/evil.example",
  "/..//evil.example?a=b#c",
  "/..//evil.example/%2e%2e",
  "/..//\tevil.example",
  "/..\t//evil.example",
  "/%2f/evil.example",
  "/%5c/evil.example",
  "https:\\\\evil.example",
  `${ORIGIN}.evil.example`,
  `${ORIGIN}@evil.example`,
  "https://front.example:8443",
  "http://front.example",
  "javascript:alert(1)",
  "data:text/html,x",
  "https://[",
];
const HERE = [
  "/",
  "/welcome",
  "/a/../b?next=//evil.example",
  "/a//b",
  "/%2e%2e/a",
  "/a%2fb",
  "/a?to=%2f%2fevil.example",
  ORIGIN,
  `${ORIGIN}/x`,
  BASE,
];

test("must recognise a redirect to another host, in every encoding", () => {
  for (const location of AWAY) assert.equal(staysHere(location, BASE, TRUSTED), false, JSON.stringify(location));
  for (const location of HERE) assert.equal(staysHere(location, BASE, TRUSTED), true, JSON.stringify(location));
});

const server = await startServer();
after(server.close);

/** Each path where the library redirects to a target from a link. */
const LINKS = [
  "/verify-email?token=x&callbackURL=",
  "/reset-password/x?callbackURL=",
  "/delete-user/callback?token=x&callbackURL=",
];

test("must not redirect to another host by a link, in every encoding, signed in or not", async () => {
  for (const link of LINKS)
    for (const [at, location] of AWAY.entries())
      for (const written of [encodeURIComponent(location), location.replace(/[\t\n#&]/g, encodeURIComponent)]) {
        const answer = await fetch(`${server.url}/api/auth${link}${written}`, {
          redirect: "manual",
          headers: { "x-forwarded-for": `10.1.${at}.${LINKS.indexOf(link)}` },
        });
        const sent = answer.headers.get("location");
        assert(
          sent === null || TRUSTED.has(new URL(sent, BASE).origin),
          `${link}${written}: ${answer.status} to ${sent}`,
        );
        if (link === LINKS[0]) assert.equal(answer.status, 403, written);
      }
});

test("must redirect to a trusted link", async () => {
  for (const location of ["/welcome", `${ORIGIN}/welcome`]) {
    const link = `${server.url}/api/auth/verify-email?token=x&callbackURL=${encodeURIComponent(location)}`;
    const answer = await fetch(link, { redirect: "manual" });
    assert.equal(answer.status, 302);
    assert.equal(new URL(answer.headers.get("location") ?? "", BASE).pathname, "/welcome");
  }
});
