/** Source: better-auth.com/docs, "API Key". */
import assert from "node:assert/strict";
import { Browser } from "../browser.mjs";

export default async function apiKeys({ call, refused }) {
  const ada = new Browser();
  await ada.signUp();
  const { apiKey } = ada.client;
  const { id: keyId, key } = await call(
    "apiKey.create",
    () => apiKey.create({ name: "CI", expiresIn: 86_400 }),
    (data) => assert(data.key.length >= 64),
  );
  await call(
    "apiKey.get",
    () => apiKey.get({ query: { id: keyId } }),
    (data) => assert.deepEqual([data.name, data.key], ["CI", undefined]),
  );
  await call(
    "apiKey.list",
    () => apiKey.list(),
    (data) => assert.equal((data.apiKeys ?? data).length, 1),
  );
  await call(
    "apiKey.update",
    () => apiKey.update({ keyId, name: "Deploy" }),
    ({ name }) => assert.equal(name, "Deploy"),
  );

  const program = new Browser();
  const fetchOptions = { headers: { "x-api-key": key } };
  await call(
    "getSession by key",
    () => program.client.getSession({ fetchOptions }),
    ({ user }) => assert.equal(user.email, ada.email),
  );
  for (let calls = 0; calls < 11; calls++) await program.client.getSession({ fetchOptions });
  await call(
    "getSession by key, a dozen times",
    () => program.client.getSession({ fetchOptions }),
    ({ user }) => assert(user),
  );
  await refused(
    "changeEmail by key",
    () => program.client.changeEmail({ newEmail: "x@example.com", fetchOptions }),
    403,
    "API_KEY_NOT_ALLOWED",
  );
  await refused(
    "apiKey.create by key",
    () => program.client.apiKey.create({ name: "More", fetchOptions }),
    403,
    "API_KEY_NOT_ALLOWED",
  );
  await refused("deleteUser by key", () => program.client.deleteUser({ fetchOptions }), 403, "API_KEY_NOT_ALLOWED");
  await call(
    "apiKey.delete",
    () => apiKey.delete({ keyId }),
    ({ success }) => assert(success),
  );
  await refused(
    "getSession by a deleted key",
    () => program.client.getSession({ fetchOptions }),
    401,
    "INVALID_API_KEY",
  );
}
