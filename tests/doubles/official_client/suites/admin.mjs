/** The first administrator by ADMIN_EMAILS. Source: better-auth.com/docs, "Admin". */
import assert from "node:assert/strict";
import { Browser, FRONT, linkIn, mailTo, PASSWORD } from "../browser.mjs";

export default async function administration({ call, refused }) {
  const root = new Browser();
  root.email = "root@example.com";
  const { admin } = root.client;
  await call("signUp.email", () => root.signUp());
  await refused(
    "admin.listUsers, not verified",
    () => admin.listUsers({ query: {} }),
    403,
    "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS",
  );
  await root.client.sendVerificationEmail({ email: root.email, callbackURL: FRONT });
  await root.visit(linkIn(await mailTo(root.email)));

  const ada = new Browser();
  const { user } = await call(
    "admin.createUser",
    () => admin.createUser({ name: "Ada", email: ada.email, password: PASSWORD, role: "user" }),
    (data) => assert.equal(data.user.email, ada.email),
  );
  const userId = user.id;
  await call("signIn.email of that user", () => ada.signIn());
  await refused(
    "admin.listUsers by that user",
    () => ada.client.admin.listUsers({ query: {} }),
    403,
    "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS",
  );
  await call(
    "admin.listUsers",
    () => admin.listUsers({ query: { searchValue: ada.email, searchField: "email", limit: 10 } }),
    ({ users, total }) => assert.deepEqual([users.length, total], [1, 1]),
  );
  await call(
    "admin.getUser",
    () => admin.getUser({ query: { id: userId } }),
    ({ email }) => assert.equal(email, ada.email),
  );
  await call(
    "admin.updateUser",
    () => admin.updateUser({ userId, data: { name: "Ada King" } }),
    ({ name }) => assert.equal(name, "Ada King"),
  );
  await call(
    "admin.listUserSessions",
    () => admin.listUserSessions({ userId }),
    ({ sessions }) => assert.equal(sessions.length, 1),
  );
  const { session } = (await ada.client.getSession()).data;
  await call(
    "admin.revokeUserSession",
    () => admin.revokeUserSession({ sessionToken: session.token }),
    ({ success }) => assert(success),
  );
  await call(
    "getSession of that user",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await ada.signIn();
  await call(
    "admin.revokeUserSessions",
    () => admin.revokeUserSessions({ userId }),
    ({ success }) => assert(success),
  );
  await call(
    "admin.setUserPassword",
    () => admin.setUserPassword({ userId, newPassword: "another long one" }),
    ({ status }) => assert(status),
  );
  await call("signIn.email with that password", () => ada.signIn({ password: "another long one" }));
  await call(
    "admin.banUser",
    () => admin.banUser({ userId, banReason: "spam" }),
    (data) => assert.equal(data.user.banned, true),
  );
  await call(
    "getSession of a banned user",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await refused(
    "signIn.email of a banned user",
    () => ada.signIn({ password: "another long one" }),
    403,
    "BANNED_USER",
  );
  await call(
    "admin.unbanUser",
    () => admin.unbanUser({ userId }),
    (data) => assert.equal(data.user.banned, false),
  );
  await call(
    "admin.impersonateUser",
    () => admin.impersonateUser({ userId }),
    (data) => assert.equal(data.user.id, userId),
  );
  await call(
    "getSession while impersonating",
    () => root.client.getSession(),
    (data) => assert.equal(data.user.id, userId),
  );
  await call("admin.stopImpersonating", () => admin.stopImpersonating());
  await call(
    "getSession after it",
    () => root.client.getSession(),
    (data) => assert.equal(data.user.email, root.email),
  );
  await call(
    "admin.hasPermission",
    () => admin.hasPermission({ permissions: { user: ["ban"] } }),
    ({ success }) => assert(success),
  );
  await call(
    "admin.setRole",
    () => admin.setRole({ userId, role: "admin" }),
    (data) => assert.equal(data.user.role, "admin"),
  );
  await ada.signIn({ password: "another long one" });
  await call(
    "admin.listUsers by role",
    () => ada.client.admin.listUsers({ query: {} }),
    ({ users }) => assert(users.length >= 2),
  );
  await call(
    "admin.removeUser",
    () => admin.removeUser({ userId }),
    ({ success }) => assert(success),
  );
}
