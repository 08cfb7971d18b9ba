/** Source: better-auth.com/docs, "Device Authorization"; RFC 8628. */
import assert from "node:assert/strict";
import { Browser, FRONT } from "../browser.mjs";

const grant_type = "urn:ietf:params:oauth:grant-type:device_code";

export default async function device({ call }) {
  const [tv, ada] = [new Browser(), new Browser()];
  await ada.signUp();
  const request = () => tv.client.device.code({ client_id: "tv", scope: "openid" });
  const code = await call("device.code", request, (data) =>
    assert.equal(new URL(data.verification_uri).href, `${FRONT}/device`),
  );
  const poll = ({ device_code }) => tv.client.device.token({ grant_type, device_code, client_id: "tv" });
  await call("device.token, too early", async () =>
    assert.equal((await poll(code)).error.error, "authorization_pending"),
  );
  const user_code = code.user_code;
  await call(
    "device, the code that was entered",
    () => ada.client.device({ query: { user_code } }),
    ({ status }) => assert.equal(status, "pending"),
  );
  await call(
    "device.approve",
    () => ada.client.device.approve({ userCode: user_code }),
    ({ success }) => assert(success),
  );
  await new Promise((done) => setTimeout(done, 5_100));
  const { access_token } = await call(
    "device.token",
    () => poll(code),
    (data) => assert.equal(data.token_type, "Bearer"),
  );
  assert(access_token);
  const denied = (await request()).data;
  await ada.client.device({ query: { user_code: denied.user_code } });
  await call(
    "device.deny",
    () => ada.client.device.deny({ userCode: denied.user_code }),
    ({ success }) => assert(success),
  );
  await call("device.token, denied", async () => assert.equal((await poll(denied)).error.error, "access_denied"));
}
