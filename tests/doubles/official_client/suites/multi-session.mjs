/** Source: better-auth.com/docs, "Multi Session", "Last Login Method". */
import assert from "node:assert/strict";
import { Browser } from "../browser.mjs";

export default async function multiSession({ call }) {
  const shared = new Browser();
  const second = new Browser().email;
  await call("signUp.email", () => shared.signUp());
  await call("signUp.email of a second account", () => shared.signUp({ email: second }));
  const sessions = await call(
    "multiSession.listDeviceSessions",
    () => shared.client.multiSession.listDeviceSessions(),
    (list) => assert.equal(list.length, 2),
  );
  const first = sessions.find(({ user }) => user.email === shared.email).session.token;
  await call(
    "multiSession.setActive",
    () => shared.client.multiSession.setActive({ sessionToken: first }),
    ({ user }) => assert.equal(user.email, shared.email),
  );
  await call(
    "getSession after it",
    () => shared.client.getSession(),
    ({ user }) => assert.equal(user.email, shared.email),
  );
  await call(
    "multiSession.revoke",
    () => shared.client.multiSession.revoke({ sessionToken: first }),
    ({ status }) => assert(status),
  );
  await call(
    "getSession after multiSession.revoke",
    () => shared.client.getSession(),
    ({ user }) => assert.equal(user.email, second),
  );
  await call(
    "the cookie with the last way to sign in",
    () => [...shared.cookies],
    (cookies) => assert.deepEqual(cookies.find(([name]) => name.includes("last_used_login_method"))?.[1], "email"),
  );
}
