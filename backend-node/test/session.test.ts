import assert from "node:assert/strict";
import test, { before } from "node:test";
import { betterAuth } from "better-auth";
import { libraryRequest, openTestLibrary, PASSWORD } from "./server.ts";

const { options, library } = await openTestLibrary();
const stock = betterAuth(options);
const NAME = "__Secure-better-auth.session_token";
let cookie: string;
let bearer: string;

before(async () => {
  const body = { name: "Ada", email: "ada@example.com", password: PASSWORD };
  const answer = await library.handle(libraryRequest("/sign-up/email", { body }));
  assert.equal(answer.status, 200);
  cookie = answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  bearer = `Bearer ${answer.headers.get("set-auth-token")}`;
});

/** Body and headers of the library's own answer. */
async function stockAnswer(headers: object): Promise<{ body: string; headers: object }> {
  const answer = await stock.handler(libraryRequest("/get-session", { headers }));
  assert.equal(answer.status, 200);
  return { body: await answer.text(), headers: Object.fromEntries(answer.headers) };
}

test("must give the library's own answer, byte for byte, with a cookie", async () => {
  const expected = await stockAnswer({ cookie });
  assert.match(expected.body, /ada@example.com/, "the library must accept the session");
  assert.equal(await library.readSession(cookie, undefined), expected.body);
  assert.deepEqual(expected.headers, {
    "content-type": "application/json",
    "cache-control": "no-store",
    pragma: "no-cache",
  });
});

test("must give the library's own answer, byte for byte, with a bearer token", async () => {
  const expected = await stockAnswer({ authorization: bearer });
  assert.match(expected.body, /ada@example.com/);
  assert.equal(await library.readSession(undefined, bearer), expected.body);
});

test("must give the library's own answer without a session", async () => {
  const { body } = await stockAnswer({});
  assert.equal(body, "null");
  assert.equal(await library.readSession(undefined, undefined), body);
  assert.equal(await library.readSession("theme=dark", undefined), body);
});

for (const [what, spoil] of [
  ["another signature", (text: string) => text.replace(/.{8}$/, "AAAAAA%3D")],
  ["a cut signature", (text: string) => text.slice(0, -12)],
  ["no signature", (text: string) => text.replace(/\..*/, "")],
  ["another token", (text: string) => text.replace("=", "=x")],
  ["broken percent-encoding", (text: string) => `${text}%zz`],
  ["nothing in it", () => `${NAME}=`],
] as const)
  test(`must accept no cookie with ${what}`, async () => {
    const spoiled = spoil(cookie);
    assert.equal((await stockAnswer({ cookie: spoiled })).body, "null");
    assert.equal(await library.readSession(spoiled, undefined), "null");
  });

for (const [what, headers] of [
  ["two session cookies", () => [`${cookie}; ${NAME}=x`, undefined]],
  ["a session that is not to be remembered", () => [`${cookie}; __Secure-better-auth.dont_remember=x`, undefined]],
  ["a bare token as bearer", () => [undefined, bearer.replace(/\..*/, "")]],
  ["another authorization scheme", () => [cookie, "Basic YTpi"]],
] as const)
  test(`must leave the answer to the library for ${what}`, async () => {
    const [given, authorization] = headers();
    assert.equal(await library.readSession(given, authorization), undefined);
  });

test("must leave an expired session, and one due for renewal, to the library", async (context) => {
  const now = Date.now();
  context.mock.timers.enable({ apis: ["Date"], now: now + 2 * 24 * 3600 * 1000 });
  assert.equal(
    await library.readSession(cookie, undefined),
    undefined,
    "a session due for renewal must go to the library",
  );
  context.mock.timers.setTime(now + 8 * 24 * 3600 * 1000);
  assert.equal(await library.readSession(cookie, undefined), undefined, "an expired session must go to the library");
});
