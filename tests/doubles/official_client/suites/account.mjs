/** Accounts and sessions, without mail. Source: better-auth.com/docs, "Email & Password", "Session Management", "Username", "JWT", "Bearer". */
import assert from "node:assert/strict";
import { Browser, FRONT, PASSWORD } from "../browser.mjs";

export default async function account({ call, refused }) {
  const ada = new Browser();
  const username = `ada_${Date.now()}`;
  await call(
    "signUp.email",
    () => ada.signUp({ username, displayUsername: "Ada" }),
    ({ token, user }) => {
      assert(token);
      assert.equal(user.email, ada.email);
    },
  );
  await refused(
    "signUp.email again",
    () => new Browser().signUp({ email: ada.email }),
    422,
    "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL",
  );
  await call(
    "getSession",
    () => ada.client.getSession(),
    ({ session, user }) => {
      assert.equal(session.userId, user.id);
      assert(session.expiresAt instanceof Date, "dates are dates");
    },
  );
  await refused(
    "getSession by POST, not offered",
    () => ada.client.$fetch("/get-session", { method: "POST" }),
    405,
    "METHOD_NOT_ALLOWED_DEFER_SESSION_REQUIRED",
  );
  await call("updateUser", () => ada.client.updateUser({ name: "Ada King", image: "https://front.example/a.png" }));
  await call(
    "getSession after updateUser",
    () => ada.client.getSession(),
    ({ user }) => assert.equal(user.name, "Ada King"),
  );
  await refused(
    "updateSession",
    () => ada.client.$fetch("/update-session", { method: "POST", body: {} }),
    400,
    "BAD_REQUEST",
  );
  await call(
    "signOut",
    () => ada.client.signOut(),
    ({ success }) => assert(success),
  );
  await call(
    "getSession after signOut",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );

  await refused(
    "signIn.email, wrong",
    () => ada.signIn({ password: "wrong password" }),
    401,
    "INVALID_EMAIL_OR_PASSWORD",
  );
  let bearer;
  await call(
    "signIn.email",
    () =>
      ada.signIn({
        rememberMe: true,
        fetchOptions: {
          onSuccess: ({ response }) => {
            bearer = response.headers.get("set-auth-token");
          },
        },
      }),
    ({ redirect, token, user }) => {
      assert.equal(redirect, false);
      assert(token && user.id);
    },
  );
  await call(
    "getSession by bearer token",
    () => new Browser().client.getSession({ fetchOptions: { headers: { authorization: `Bearer ${bearer}` } } }),
    ({ user }) => assert.equal(user.email, ada.email),
  );
  await call(
    "signIn.email with callbackURL",
    () => ada.signIn({ callbackURL: FRONT }),
    ({ redirect, url }) => assert.deepEqual([redirect, url], [true, FRONT]),
  );
  await call("signIn.username", () => new Browser().client.signIn.username({ username, password: PASSWORD }));
  await call(
    "isUsernameAvailable",
    () => ada.client.isUsernameAvailable({ username }),
    ({ available }) => assert.equal(available, false),
  );
  await call(
    "token",
    () => ada.client.token(),
    ({ token }) => assert.equal(token.split(".").length, 3),
  );
  await call(
    "jwks",
    () => ada.client.jwks(),
    ({ keys }) => assert.equal(keys[0].crv, "Ed25519"),
  );

  const phone = new Browser();
  await call("signIn.email on a second device", () => phone.signIn({ email: ada.email }));
  const sessions = await call(
    "listSessions",
    () => ada.client.listSessions(),
    (list) => assert(list.length >= 2),
  );
  const own = (await phone.client.getSession()).data.session.token;
  await call(
    "revokeSession",
    () => ada.client.revokeSession({ token: sessions.find(({ token }) => token === own).token }),
    ({ status }) => assert(status),
  );
  await call(
    "getSession after revokeSession",
    () => phone.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await call(
    "revokeOtherSessions",
    () => ada.client.revokeOtherSessions(),
    ({ status }) => assert(status),
  );
  await call(
    "listSessions after revokeOtherSessions",
    () => ada.client.listSessions(),
    (list) => assert.equal(list.length, 1),
  );
  await call(
    "revokeSessions",
    () => ada.client.revokeSessions(),
    ({ status }) => assert(status),
  );
  await call(
    "getSession after revokeSessions",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );

  await call("signIn.email once more", () => ada.signIn());
  await call(
    "verifyPassword",
    () => ada.client.$fetch("/verify-password", { method: "POST", body: { password: PASSWORD } }),
    ({ status }) => assert(status),
  );
  await refused(
    "changePassword, wrong",
    () => ada.client.changePassword({ currentPassword: "wrong password", newPassword: "another long one" }),
    400,
    "INVALID_PASSWORD",
  );
  await call(
    "changePassword",
    () =>
      ada.client.changePassword({
        currentPassword: PASSWORD,
        newPassword: "another long one",
        revokeOtherSessions: true,
      }),
    ({ token, user }) => assert(token && user.id),
  );
  await call(
    "getSession after changePassword",
    () => ada.client.getSession(),
    ({ user }) => assert.equal(user.email, ada.email),
  );

  const [credential] = await call(
    "listAccounts",
    () => ada.client.listAccounts(),
    ([account]) => assert.equal(account.providerId, "credential"),
  );
  await refused(
    "unlinkAccount",
    () => ada.client.unlinkAccount({ providerId: "credential", accountId: credential.accountId }),
    400,
    "FAILED_TO_UNLINK_LAST_ACCOUNT",
  );
  await call(
    "signIn.social",
    () => new Browser().client.signIn.social({ provider: "github", callbackURL: FRONT, disableRedirect: true }),
    ({ url, redirect }) => {
      assert.equal(new URL(url).host, "github.com");
      assert.equal(redirect, false);
    },
  );
  await refused(
    "signIn.social, unknown provider",
    () => ada.client.signIn.social({ provider: "gitlab" }),
    404,
    "PROVIDER_NOT_FOUND",
  );
  await call(
    "linkSocial",
    () => ada.client.linkSocial({ provider: "github", callbackURL: FRONT, disableRedirect: true }),
    ({ url }) => assert.equal(new URL(url).host, "github.com"),
  );
  await refused("getAccessToken", () => ada.client.getAccessToken({ accountId: "none" }), 400, "ACCOUNT_NOT_FOUND");
  await refused("refreshToken", () => ada.client.refreshToken({ accountId: "none" }), 400, "ACCOUNT_NOT_FOUND");
  await refused(
    "accountInfo",
    () => ada.client.accountInfo({ query: { accountId: "none" } }),
    400,
    "ACCOUNT_NOT_FOUND",
  );
  await call(
    "callback without state",
    () => ada.visit("https://auth.example/api/auth/callback/github?code=x"),
    (url) => assert(url.searchParams.has("error")),
  );
  await call(
    "callback by POST",
    () => ada.fetch("https://auth.example/api/auth/callback/github", { method: "POST" }),
    ({ status }) => assert.equal(status, 302),
  );
  await call(
    "error",
    () => ada.fetch("https://auth.example/api/auth/error?error=x"),
    ({ status }) => assert(status < 400),
  );
  await call(
    "ok",
    () => ada.client.$fetch("/ok"),
    ({ ok }) => assert(ok),
  );

  await refused(
    "requestPasswordReset without mail",
    () => ada.client.requestPasswordReset({ email: ada.email }),
    400,
    "RESET_PASSWORD_DISABLED",
  );
  await refused(
    "sendVerificationEmail without mail",
    () => ada.client.sendVerificationEmail({ email: ada.email }),
    400,
    "VERIFICATION_EMAIL_NOT_ENABLED",
  );
  await call(
    "deleteUser",
    () => ada.client.deleteUser({ password: "another long one" }),
    ({ success }) => assert(success),
  );
  await call(
    "getSession after deleteUser",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );
}
