import assert from "node:assert/strict";
import test from "node:test";
import { hashPassword as scrypt } from "better-auth/crypto";
import { HttpError } from "../http-error.ts";
import { hashPassword, verifyPassword } from "../password.ts";
import { libraryRequest, openTestLibrary, PASSWORD } from "./server.ts";

test("must verify its own hashes, and only with the right password", async () => {
  const hash = await hashPassword(PASSWORD);
  assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/);
  assert.equal(await verifyPassword({ hash, password: PASSWORD }), true);
  assert.equal(await verifyPassword({ hash, password: `${PASSWORD}x` }), false);
});

test("must treat the two forms of a character as the same", async () => {
  const hash = await hashPassword("caf\u00e9-password");
  assert.equal(await verifyPassword({ hash, password: "cafe\u0301-password" }), true);
});

for (const hash of ["", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$$", "not a hash"])
  test(`must accept no password for the hash "${hash}"`, async () => {
    assert.equal(await verifyPassword({ hash, password: PASSWORD }).catch(() => false), false);
  });

test("must refuse with 503 when too many wait, and answer the rest", async () => {
  const results = await Promise.allSettled(Array.from({ length: 64 }, () => hashPassword(PASSWORD)));
  const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  assert.equal(refused.length, 64 - 2 - 32);
  for (const error of refused) {
    assert(error instanceof HttpError);
    assert.equal(error.status, 503);
    assert.equal(error.headers["retry-after"], "1");
  }
  assert.match(await hashPassword(PASSWORD), /^\$argon2id/, "the queue must continue afterwards");
});

test("must accept the library's scrypt hash once, and rewrite it", async () => {
  const { library, options } = await openTestLibrary();
  const signIn = () =>
    library.handle(libraryRequest("/sign-in/email", { body: { email: "ada@example.com", password: PASSWORD } }));
  const body = { name: "Ada", email: "ada@example.com", password: PASSWORD };
  await library.handle(libraryRequest("/sign-up/email", { body }));
  const database = options.database as import("node:sqlite").DatabaseSync;
  const stored = () => String(database.prepare("SELECT password FROM account").get()?.password);
  database.prepare("UPDATE account SET password = ?").run(await scrypt(PASSWORD));
  assert.doesNotMatch(stored(), /argon2/, "the old hash must be stored first");

  assert.equal((await signIn()).status, 200);

  assert.match(stored(), /^\$argon2id\$/);
  assert.equal((await signIn()).status, 200);
});
