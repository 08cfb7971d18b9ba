import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { betterAuth } from "better-auth";
import { libraryRequest, ORIGIN, openTestLibrary, PASSWORD, testSettings } from "./server.ts";

const ACCOUNT = { name: "Ada", email: "ada@example.com", password: PASSWORD };

/** A library with copies for a minute, and the answers of it, of its short path and of the stock library. */
async function withCopies() {
  const { library, options, database } = await openTestLibrary(testSettings({ SESSION_CACHE_SECONDS: "60" }));
  const stock = betterAuth(options);
  const cookiesOf = (answer: Response) => answer.headers.getSetCookie().map((line) => line.split(";")[0] ?? "");
  const signedUp = await library.handle(libraryRequest("/sign-up/email", { body: ACCOUNT }));
  const cookie = cookiesOf(signedUp).join("; ");
  assert.match(cookie, /session_data=/);
  return {
    library,
    database,
    cookie,
    read: (header = cookie) => library.readSession(header, undefined),
    stock: async (header = cookie) =>
      (await stock.handler(libraryRequest("/get-session", { headers: { cookie: header } }))).json(),
    handle: (path: string, body: object | undefined, headers: object = { cookie }) =>
      library.handle(libraryRequest(path, { body, headers: { origin: ORIGIN, ...headers } })),
    cookiesOf,
  };
}

test("must give the library's own answer by the copy, without the database", async () => {
  const { database, read, stock } = await withCopies();
  const expected = await stock();
  assert.equal(expected.user.email, ACCOUNT.email);
  await database.close();
  assert.deepEqual(JSON.parse((await read()) ?? ""), expected);
});

for (const [what, spoil] of [
  ["another signature", (copy: object) => ({ ...copy, signature: "A".repeat(43) })],
  ["no signature", (copy: object) => ({ ...copy, signature: undefined })],
  ["a later end", (copy: { expiresAt: number }) => ({ ...copy, expiresAt: copy.expiresAt + 1_000 })],
  [
    "another user",
    (copy: { session: { user: object } }) => ({
      ...copy,
      session: { ...copy.session, user: { ...copy.session.user, role: "admin" } },
    }),
  ],
  ["nothing in it", () => ({})],
] as const)
  test(`must refuse a copy with ${what}`, async () => {
    const { read, cookie } = await withCopies();
    const spoiled = cookie.replace(/(session_data=)([^;]*)/, (_, name, copy) => {
      const content = JSON.parse(Buffer.from(copy, "base64url").toString());
      return name + Buffer.from(JSON.stringify(spoil(content))).toString("base64url");
    });
    assert.notEqual(spoiled, cookie);
    assert.equal(await read(spoiled), undefined, "the short path must leave the answer to the library");
  });

test("must refuse the copy of another session", async () => {
  const { read, handle, cookie, cookiesOf } = await withCopies();
  const other = cookiesOf(await handle("/sign-in/email", ACCOUNT, {}));
  const token = other.find((pair) => pair.includes("session_token="));
  assert.equal(await read(cookie.replace(/[^ ]*session_token=[^;]*/, token ?? "")), undefined);
  assert.equal(await read(cookie.replace(/[^ ]*session_token=[^;]*; /, "")), undefined);
});

test("must show a session that has ended until its copy is too old, and no longer", async (context: TestContext) => {
  const { read, stock, handle, cookie, library } = await withCopies();
  const elsewhere = await handle("/sign-in/email", ACCOUNT, {});
  const headers = {
    cookie: elsewhere.headers
      .getSetCookie()
      .map((line) => line.split(";")[0])
      .join("; "),
  };
  assert.equal((await handle("/revoke-other-sessions", {}, headers)).status, 200);
  assert.equal(JSON.parse((await read()) ?? "").user.email, ACCOUNT.email, "the copy must stay valid until its age");
  const now = Date.now();
  context.mock.timers.enable({ apis: ["Date"], now: now + 61_000 });
  assert.equal(await read(), undefined);
  assert.equal(await stock(), null);
  assert.equal((await library.handle(libraryRequest("/get-session", { headers: { cookie } }))).status, 200);
});

test("must not let a session that has ended change a password", async () => {
  const { handle } = await withCopies();
  const elsewhere = await handle("/sign-in/email", ACCOUNT, {});
  const headers = {
    cookie: elsewhere.headers
      .getSetCookie()
      .map((line) => line.split(";")[0])
      .join("; "),
  };
  await handle("/revoke-other-sessions", {}, headers);
  const change = { currentPassword: PASSWORD, newPassword: "quite another long one" };
  assert.equal((await handle("/change-password", change)).status, 401);
  assert.equal((await handle("/list-sessions", undefined, headers)).status, 200);
});

test("must set no copy without the setting", async () => {
  const { library } = await openTestLibrary();
  const signedUp = await library.handle(libraryRequest("/sign-up/email", { body: ACCOUNT }));
  assert.doesNotMatch(signedUp.headers.getSetCookie().join(), /session_data/);
});
