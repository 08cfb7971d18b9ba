/** Confirmation by mail. Source: better-auth.com/docs, "Email & Password", "User & Accounts". */
import assert from "node:assert/strict";
import { Browser, FRONT, linkIn, mailTo } from "../browser.mjs";

export default async function mail({ call, refused }) {
  const ada = new Browser();
  await call("signUp.email", () => ada.signUp());
  await call(
    "sendVerificationEmail",
    () => ada.client.sendVerificationEmail({ email: ada.email, callbackURL: FRONT }),
    ({ status }) => assert(status),
  );
  await call(
    "the link that verifies",
    async () => ada.visit(linkIn(await mailTo(ada.email))),
    (url) => assert.equal(url.href, `${FRONT}/`),
  );
  await call(
    "getSession after it",
    () => ada.client.getSession(),
    ({ user }) => assert.equal(user.emailVerified, true),
  );
  const bob = new Browser();
  await call("signUp.email of another", () => bob.signUp());
  await call("sendVerificationEmail again", () =>
    bob.client.sendVerificationEmail({ email: bob.email, callbackURL: FRONT }),
  );
  const token = new URL(linkIn(await mailTo(bob.email))).searchParams.get("token");
  await call(
    "verifyEmail",
    () => bob.client.verifyEmail({ query: { token } }),
    ({ status }) => assert(status),
  );
  await refused(
    "verifyEmail, wrong",
    () => bob.client.verifyEmail({ query: { token: "x.y.z" } }),
    401,
    "INVALID_TOKEN",
  );

  const forgetful = new Browser();
  await call(
    "requestPasswordReset",
    () => forgetful.client.requestPasswordReset({ email: ada.email, redirectTo: `${FRONT}/reset` }),
    ({ status }) => assert(status),
  );
  const form = await call(
    "the link that resets",
    async () => forgetful.visit(linkIn(await mailTo(ada.email, 1))),
    (url) => assert.equal(url.origin, FRONT),
  );
  const reset = { newPassword: "another long one", token: form.searchParams.get("token") };
  await call(
    "resetPassword",
    () => forgetful.client.resetPassword(reset),
    ({ status }) => assert(status),
  );
  await refused("resetPassword, second use", () => forgetful.client.resetPassword(reset), 400, "INVALID_TOKEN");
  await call(
    "getSession after resetPassword",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await call("signIn.email after resetPassword", () => ada.signIn({ password: "another long one" }));
  await mailTo(ada.email, 2);

  const next = `next-${ada.email}`;
  await call(
    "changeEmail",
    () => ada.client.changeEmail({ newEmail: next, callbackURL: FRONT }),
    ({ status }) => assert(status),
  );
  await call("the link in the old mailbox", async () => ada.visit(linkIn(await mailTo(ada.email, 3))));
  await call(
    "the link in the new mailbox",
    async () => ada.visit(linkIn(await mailTo(next))),
    (url) => assert.equal(url.href, `${FRONT}/`),
  );
  await call(
    "getSession after changeEmail",
    () => ada.client.getSession(),
    ({ user }) => assert.deepEqual([user.email, user.emailVerified], [next, true]),
  );
}
