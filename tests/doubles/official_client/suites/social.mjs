/** The whole sign-in with GitHub and Hugging Face. Source: better-auth.com/docs, "OAuth", "User & Accounts". */
import assert from "node:assert/strict";
import { Browser, FRONT, PASSWORD } from "../browser.mjs";

/** Returns from the provider as the user `email`. */
function comeBack(browser, provider, url, email) {
  const state = new URL(url).searchParams.get("state");
  return browser.visit(`https://auth.example/api/auth/callback/${provider}?code=${email}&state=${state}`);
}

export default async function social({ call, refused }) {
  const ada = new Browser();
  ada.email = `verified-${ada.email}`;
  const start = (provider) => ({ provider, callbackURL: FRONT, disableRedirect: true });
  const { url } = await call("signIn.social", () => ada.client.signIn.social(start("github")));
  await call(
    "callback in another browser",
    () => comeBack(new Browser(), "github", url, ada.email),
    (target) => assert(target.searchParams.has("error")),
  );
  await call(
    "callback",
    () => comeBack(ada, "github", url, ada.email),
    (target) => assert.equal(target.href, `${FRONT}/`),
  );
  await call(
    "getSession",
    () => ada.client.getSession(),
    ({ user }) => assert.deepEqual([user.email, user.emailVerified], [ada.email, true]),
  );
  const [{ id: accountId }] = await call(
    "listAccounts",
    () => ada.client.listAccounts(),
    ([account]) => assert.equal(account.providerId, "github"),
  );
  await call(
    "getAccessToken",
    () => ada.client.getAccessToken({ accountId }),
    ({ accessToken }) => assert.equal(accessToken, `token-of-${ada.email}`),
  );
  await call(
    "refreshToken",
    () => ada.client.refreshToken({ accountId }),
    ({ accessToken }) => assert.equal(accessToken, `token-of-${ada.email}`),
  );
  await call(
    "accountInfo",
    () => ada.client.accountInfo({ query: { accountId } }),
    ({ user }) => assert.equal(user.email, ada.email),
  );

  const linking = await call("linkSocial", () => ada.client.linkSocial(start("huggingface")));
  await call(
    "callback of linkSocial",
    () => comeBack(ada, "huggingface", linking.url, ada.email),
    (target) => assert.equal(target.href, `${FRONT}/`),
  );
  const accounts = await call(
    "listAccounts after it",
    () => ada.client.listAccounts(),
    (list) => assert.equal(list.length, 2),
  );
  const second = accounts.find(({ providerId }) => providerId === "huggingface");
  await call(
    "unlinkAccount",
    () => ada.client.unlinkAccount({ accountId: second.id }),
    ({ status }) => assert(status),
  );

  const bob = new Browser();
  const other = await call("signIn.social, address not verified", () => bob.client.signIn.social(start("huggingface")));
  await call("callback of it", () => comeBack(bob, "huggingface", other.url, bob.email));
  await call(
    'getSession after "email_verified": "false"',
    () => bob.client.getSession(),
    ({ user }) => assert.deepEqual([user.email, user.emailVerified], [bob.email, false]),
  );

  const victim = new Browser();
  await call("signUp.email", () => victim.signUp());
  const thief = new Browser();
  const takeover = await call("signIn.social as another", () => thief.client.signIn.social(start("huggingface")));
  await call(
    "callback with an address that is not the thief's",
    () => comeBack(thief, "huggingface", takeover.url, victim.email),
    (target) => assert.equal(target.searchParams.get("error"), "account_not_linked"),
  );
  await call(
    "getSession of the thief",
    () => thief.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await refused(
    "setPassword is the server's alone",
    () => ada.client.$fetch("/set-password", { method: "POST", body: { newPassword: PASSWORD } }),
    404,
    "NOT_FOUND",
  );
}
