/** Source: better-auth.com/docs, "Two-Factor Authentication (2FA)". */
import assert from "node:assert/strict";
import { base32 } from "@better-auth/utils/base32";
import { createOTP } from "@better-auth/utils/otp";
import { Browser, PASSWORD } from "../browser.mjs";

export default async function secondFactor({ call, refused }) {
  const ada = new Browser();
  const { twoFactor } = ada.client;
  await call("signUp.email", () => ada.signUp());
  const { totpURI, backupCodes } = await call(
    "twoFactor.enable",
    () => twoFactor.enable({ password: PASSWORD }),
    (data) => assert.equal(data.backupCodes.length, 10),
  );
  const secret = new TextDecoder().decode(base32.decode(new URL(totpURI).searchParams.get("secret")));
  const code = () => createOTP(secret).totp();
  await refused("twoFactor.verifyTotp, wrong", () => twoFactor.verifyTotp({ code: "000000" }), 401, "INVALID_CODE");
  await call(
    "twoFactor.verifyTotp",
    async () => twoFactor.verifyTotp({ code: await code() }),
    ({ user }) => assert(user.id),
  );
  await call(
    "twoFactor.getTotpUri",
    () => twoFactor.getTotpUri({ password: PASSWORD }),
    (data) => assert(data.totpURI.startsWith("otpauth://totp/")),
  );
  await call("signOut", () => ada.client.signOut());

  await call(
    "signIn.email requires the second factor",
    () => ada.signIn(),
    ({ twoFactorRedirect }) => assert.equal(twoFactorRedirect, true),
  );
  await call(
    "getSession before it",
    () => ada.client.getSession(),
    (data) => assert.equal(data, null),
  );
  await refused("twoFactor.sendOtp, not offered", () => twoFactor.sendOtp(), 400, "OTP_NOT_CONFIGURED");
  await refused(
    "twoFactor.verifyOtp, not offered",
    () => twoFactor.verifyOtp({ code: "000000" }),
    400,
    "OTP_HAS_EXPIRED",
  );
  await call(
    "twoFactor.verifyTotp at sign-in",
    async () => twoFactor.verifyTotp({ code: await code(), trustDevice: true }),
    ({ token }) => assert(token),
  );
  await call(
    "getSession after it",
    () => ada.client.getSession(),
    ({ user }) => assert.equal(user.twoFactorEnabled, true),
  );
  await call("signOut again", () => ada.client.signOut());
  await call(
    "signIn.email on a trusted device",
    () => ada.signIn(),
    ({ twoFactorRedirect, token }) => assert(!twoFactorRedirect && token),
  );

  const phone = new Browser();
  await call(
    "signIn.email on another device",
    () => phone.signIn({ email: ada.email }),
    ({ twoFactorRedirect }) => assert(twoFactorRedirect),
  );
  await call(
    "twoFactor.verifyBackupCode",
    () => phone.client.twoFactor.verifyBackupCode({ code: backupCodes[0] }),
    ({ token }) => assert(token),
  );
  await call(
    "twoFactor.generateBackupCodes",
    () => twoFactor.generateBackupCodes({ password: PASSWORD }),
    (data) => assert.equal(data.backupCodes.length, 10),
  );
  await call(
    "twoFactor.disable",
    () => twoFactor.disable({ password: PASSWORD }),
    ({ status }) => assert(status),
  );
  await call(
    "signIn.email after twoFactor.disable",
    () => new Browser().signIn({ email: ada.email }),
    ({ token }) => assert(token),
  );
}
