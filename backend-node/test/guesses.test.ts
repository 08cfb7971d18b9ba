import assert from "node:assert/strict";
import test from "node:test";
import { CLIENT_ADDRESS_HEADER } from "../client-address.ts";
import { hashPassword } from "../password.ts";
import { libraryRequest, openTestLibrary, PASSWORD } from "./server.ts";

test("must not count a sign-in as a guess that nobody had the time to look at", async () => {
  const { library } = await openTestLibrary();
  const account = { name: "Ada", email: "ada@example.com", password: PASSWORD };
  assert.equal((await library.handle(libraryRequest("/sign-up/email", { body: account }))).status, 200);
  const headers = { [CLIENT_ADDRESS_HEADER]: "2001:db8:1::1" };
  const signIn = () => library.handle(libraryRequest("/sign-in/email", { body: account, headers }));

  const others: Promise<unknown>[] = [];
  for (let refused = 0; refused < 25; ) {
    while (others.push(hashPassword(PASSWORD).catch(() => {})) % 40);
    await signIn().catch((error) => {
      assert.deepEqual([error.status, error.code], [503, "BUSY"]);
      refused++;
    });
  }
  await Promise.all(others);
  assert.equal((await signIn()).status, 200);
});
