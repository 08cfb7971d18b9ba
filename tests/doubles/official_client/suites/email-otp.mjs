/** Source: better-auth.com/docs, "Email OTP". */
import assert from "node:assert/strict";
import { Browser, mailTo, PASSWORD } from "../browser.mjs";

const codeIn = (text) => /\b\d{6}\b/.exec(text)[0];

export default async function emailOtp({ call, refused }) {
  const ada = new Browser();
  const { email } = ada;
  const { emailOtp, signIn } = ada.client;
  const send = (type) => emailOtp.sendVerificationOtp({ email, type });
  await call(
    "emailOtp.sendVerificationOtp",
    () => send("sign-in"),
    ({ success }) => assert(success),
  );
  const code = codeIn(await mailTo(email));
  await refused(
    "signIn.emailOtp, wrong",
    () => signIn.emailOtp({ email, otp: code === "000000" ? "000001" : "000000" }),
    400,
    "INVALID_OTP",
  );
  await call(
    "signIn.emailOtp signs up",
    () => signIn.emailOtp({ email, otp: code, name: "Ada" }),
    ({ user }) => assert.deepEqual([user.email, user.emailVerified], [email, true]),
  );
  await refused(
    "signIn.emailOtp, second use",
    () => new Browser().client.signIn.emailOtp({ email, otp: code }),
    400,
    "INVALID_OTP",
  );

  const bob = new Browser();
  await bob.signUp();
  const otp = bob.client.emailOtp;
  await otp.sendVerificationOtp({ email: bob.email, type: "email-verification" });
  const verification = codeIn(await mailTo(bob.email));
  await call(
    "emailOtp.checkVerificationOtp",
    () => otp.checkVerificationOtp({ email: bob.email, type: "email-verification", otp: verification }),
    ({ success }) => assert(success),
  );
  await call(
    "emailOtp.verifyEmail",
    () => otp.verifyEmail({ email: bob.email, otp: verification }),
    ({ status }) => assert(status),
  );
  await call(
    "emailOtp.requestPasswordReset",
    () => otp.requestPasswordReset({ email: bob.email }),
    ({ success }) => assert(success),
  );
  const reset = codeIn(await mailTo(bob.email, 1));
  await refused(
    "emailOtp.resetPassword, common",
    () => otp.resetPassword({ email: bob.email, otp: reset, password: "password123" }),
    400,
    "PASSWORD_TOO_COMMON",
  );
  await call(
    "emailOtp.resetPassword",
    () => otp.resetPassword({ email: bob.email, otp: reset, password: "another long one" }),
    ({ success }) => assert(success),
  );
  await mailTo(bob.email, 2);
  await call(
    "forgetPassword.emailOtp",
    () => bob.client.forgetPassword.emailOtp({ email: bob.email }),
    ({ success }) => assert(success),
  );
  await mailTo(bob.email, 3);
  await call("signIn.email with that password", () => bob.signIn({ password: "another long one" }));
  await refused(
    "emailOtp.requestEmailChange, not offered",
    () => otp.requestEmailChange({ newEmail: "x@example.com" }),
    400,
    "BAD_REQUEST",
  );
  await refused(
    "emailOtp.changeEmail, not offered",
    () => otp.changeEmail({ newEmail: "x@example.com", otp: "000000" }),
    400,
    "BAD_REQUEST",
  );
  await refused(
    "signIn.email with the old password",
    () => bob.signIn({ password: PASSWORD }),
    401,
    "INVALID_EMAIL_OR_PASSWORD",
  );
}
