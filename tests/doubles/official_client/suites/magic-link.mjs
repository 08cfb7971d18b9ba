/** Source: better-auth.com/docs, "Magic Link". */
import assert from "node:assert/strict";
import { Browser, FRONT, linkIn, mailTo } from "../browser.mjs";

export default async function magicLink({ call, refused }) {
  const ada = new Browser();
  const { email } = ada;
  await call(
    "signIn.magicLink",
    () => ada.client.signIn.magicLink({ email, name: "Ada", callbackURL: FRONT }),
    ({ status }) => assert(status),
  );
  const link = linkIn(await mailTo(email));
  await call(
    "the link",
    () => ada.visit(link),
    (url) => assert.equal(url.href, `${FRONT}/`),
  );
  await call(
    "getSession after it",
    () => ada.client.getSession(),
    ({ user }) => assert.deepEqual([user.email, user.emailVerified], [email, true]),
  );
  await call(
    "the link, second use",
    () => new Browser().visit(link),
    (url) => assert(url.searchParams.has("error")),
  );
  await ada.client.signIn.magicLink({ email });
  const token = new URL(linkIn(await mailTo(email, 1))).searchParams.get("token");
  const phone = new Browser();
  await call(
    "magicLink.verify",
    () => phone.client.magicLink.verify({ query: { token } }),
    (data) => assert.equal(data.user.email, email),
  );
  await refused(
    "signIn.magicLink to elsewhere",
    () => ada.client.signIn.magicLink({ email, callbackURL: "https://evil.example" }),
    403,
    "INVALID_CALLBACK_URL",
  );
}
