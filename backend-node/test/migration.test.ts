import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import test from "node:test";
import { openAuth, UnsafeSchema } from "../auth.ts";
import { openTestLibrary, silent, testSettings } from "./server.ts";

function databaseOf(settings: ReturnType<typeof testSettings>): DatabaseSync {
  assert(settings.database.kind === "sqlite");
  return new DatabaseSync(settings.database.file);
}

test("must add what a newer version needs, and keep the accounts", async () => {
  const { settings, database } = await openTestLibrary();
  await database.close();
  const old = databaseOf(settings);
  old.exec(
    `INSERT INTO "user" (id, name, email, emailVerified, createdAt, updatedAt) VALUES ('1', 'Ada', 'a@b.example', 0, 0, 0)`,
  );
  old.exec(`ALTER TABLE "user" DROP COLUMN displayUsername; DROP TABLE passkey`);
  old.close();

  const service = await openAuth(settings, silent, assert.fail);
  await service.handle(new Request("https://auth.example/api/auth/ok"));
  await service.close();

  const upgraded = databaseOf(settings);
  assert.deepEqual(
    { ...upgraded.prepare(`SELECT name, displayUsername FROM "user"`).get() },
    { name: "Ada", displayUsername: null },
  );
  assert.equal(upgraded.prepare("SELECT count(*) AS n FROM passkey").get()?.n, 0);
});

test("must refuse a schema that it cannot upgrade without losing rows", async () => {
  const settings = testSettings();
  const foreign = databaseOf(settings);
  foreign.exec(`CREATE TABLE "user" (id TEXT PRIMARY KEY, name TEXT); INSERT INTO "user" VALUES ('1', 'Ada')`);
  foreign.close();

  const fatal = Promise.withResolvers<Error>();
  const service = await openAuth(settings, silent, fatal.resolve);
  const error = await fatal.promise;
  await service.close();

  assert(error instanceof UnsafeSchema);
  assert.match(error.message, /email/);
  assert.equal(databaseOf(settings).prepare(`SELECT count(*) AS n FROM "user"`).get()?.n, 1, "the rows must remain");
});
