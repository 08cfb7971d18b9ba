import assert from "node:assert/strict";
import { createPublicKey, type JsonWebKey, verify } from "node:crypto";
import test from "node:test";
import { libraryRequest, openTestLibrary, PASSWORD } from "./server.ts";

test("must issue a token that another server verifies with the published key alone", async () => {
  const { library } = await openTestLibrary();
  const body = { name: "Ada", email: "ada@example.com", password: PASSWORD };
  const signedUp = await library.handle(libraryRequest("/sign-up/email", { body }));
  const cookie = signedUp.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const issued = await library.handle(libraryRequest("/token", { headers: { cookie } }));
  const { token } = (await issued.json()) as { token: string };
  const published = await library.handle(libraryRequest("/jwks"));
  const { keys } = (await published.json()) as { keys: (JsonWebKey & { kid: string })[] };

  const [head = "", claims = "", signature = ""] = token.split(".");
  const { kid, alg } = JSON.parse(Buffer.from(head, "base64url").toString());
  const key = keys.find((key) => key.kid === kid);
  assert(key && alg === "EdDSA", "the key is published");
  const right = (text: string) =>
    verify(null, Buffer.from(text), createPublicKey({ key, format: "jwk" }), Buffer.from(signature, "base64url"));
  assert.equal(right(`${head}.${claims}`), true);
  assert.equal(right(`${head}.${claims}x`), false);
});
