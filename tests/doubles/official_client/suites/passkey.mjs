/** Source: better-auth.com/docs, "Passkey". */
import assert from "node:assert/strict";
import { installAuthenticator } from "../authenticator.mjs";
import { Browser, FRONT, mailTo } from "../browser.mjs";

export default async function passkey({ call, refused }) {
  installAuthenticator(FRONT);
  const ada = new Browser();
  await call("signUp.email", () => ada.signUp());
  await call("passkey.addPasskey", () => ada.client.passkey.addPasskey({ name: "Laptop" }));
  await call(
    "the mail about it",
    () => mailTo(ada.email),
    (text) => assert(text.startsWith("A passkey was added")),
  );
  const [{ id }] = await call(
    "passkey.listUserPasskeys",
    () => ada.client.passkey.listUserPasskeys(),
    (list) => assert.equal(list[0].name, "Laptop"),
  );
  await call(
    "passkey.updatePasskey",
    () => ada.client.passkey.updatePasskey({ id, name: "Work" }),
    (data) => assert.equal(data.passkey.name, "Work"),
  );
  const again = new Browser();
  await call(
    "signIn.passkey",
    () => again.client.signIn.passkey(),
    ({ session }) => assert(session.id),
  );
  await call(
    "getSession after signIn.passkey",
    () => again.client.getSession(),
    ({ user }) => assert.equal(user.email, ada.email),
  );
  await refused(
    "passkey.deletePasskey of another",
    async () => {
      const eve = new Browser();
      await eve.signUp();
      return eve.client.passkey.deletePasskey({ id });
    },
    401,
    "UNAUTHORIZED",
  );
  await call(
    "passkey.deletePasskey",
    () => ada.client.passkey.deletePasskey({ id }),
    ({ status }) => assert(status),
  );
  await call(
    "the mail about that",
    () => mailTo(ada.email, 1),
    (text) => assert(text.startsWith("A passkey was removed")),
  );
  await call("signIn.passkey after passkey.deletePasskey", async () => {
    const { error } = await new Browser().client.signIn.passkey();
    assert(error, "a deleted passkey must not sign a user in");
  });
}
