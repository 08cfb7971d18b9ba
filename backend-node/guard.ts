/** Checks before the library gets a call: the form of the input, and the caller's number of tries. */
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { setRequestCookie } from "better-auth/cookies";
import { CLIENT_ADDRESS_HEADER } from "./client-address.ts";
import { type HookContext, mailOf, signedInUser, takeGuess } from "./guesses.ts";
import { HttpError } from "./http-error.ts";
import { DEVICE_COOKIE, DEVICE_COOKIE_MAX_AGE, deviceMark, knownDevice } from "./known-device.ts";
import type { RateLimits } from "./rate-limits.ts";
import { REDIRECT_FIELDS, staysHere } from "./redirects.ts";
import { signedToken } from "./session.ts";
import type { Settings } from "./settings.ts";

/** Paths that send a mail, perhaps to an owner who does not expect it. */
export const SENDS_MAIL = new Set([
  "/request-password-reset",
  "/send-verification-email",
  "/change-email",
  "/sign-in/magic-link",
  "/email-otp/send-verification-otp",
  "/email-otp/request-password-reset",
  "/forget-password/email-otp",
  "/two-factor/send-otp",
]);

/** The hook that runs before each call. */
export function guard(settings: Pick<Settings, "baseURL" | "trustedOrigins">, limits: RateLimits) {
  const origins = new Set(settings.trustedOrigins);
  return createAuthMiddleware(async (ctx) => {
    checkBody(ctx);
    showBearer(ctx);
    for (const field of REDIRECT_FIELDS)
      for (const value of [ctx.body?.[field], ctx.query?.[field]])
        if (typeof value === "string" && value !== "" && !staysHere(value, settings.baseURL, origins))
          throw new HttpError(403, "INVALID_CALLBACK_URL", `${field} must be on a trusted origin`);
    if (ctx.path === "/delete-user" && !ctx.body?.password) await demandPassword(ctx);
    const address = ctx.headers?.get(CLIENT_ADDRESS_HEADER) ?? "";
    await takeGuess(ctx, limits, address);
    if (ctx.path === "/sign-up/email") await limits.take("signUpsPerAddress", address);
    const mail = mailOf(ctx);
    const recipients = mail === undefined ? [] : [mail];
    if (SENDS_MAIL.has(ctx.path)) await limits.take("mails", address, ...recipients);
    if (ctx.path === "/organization/invite-member") {
      await limits.take("invitationsPerAddress", address);
      await limits.take("mails", ...recipients);
    }
  });
}

/** Marks a device as known after sign-in. Must follow the plugin that requires a second factor. */
export const rememberDevice: BetterAuthPlugin = {
  id: "known-device",
  hooks: {
    after: [
      {
        matcher: () => true,
        handler: createAuthMiddleware(async (ctx) => {
          const { newSession, secret } = ctx.context;
          // An administrator who impersonates a user does not use the user's device.
          if (!newSession || newSession.session.impersonatedBy) return;
          const account = newSession.user.email;
          const { name, attributes } = ctx.context.createAuthCookie(DEVICE_COOKIE, { maxAge: DEVICE_COOKIE_MAX_AGE });
          if (knownDevice(secret, account, ctx.getCookie(name)) === undefined)
            ctx.setCookie(name, deviceMark(secret, account), attributes);
        }),
      },
    ],
  },
};

/** The library's bearer plugin gives the session to endpoints, not to the hooks before them, some of which are checks. */
function showBearer({ context, headers }: HookContext): void {
  const signed = headers && signedToken(headers.get("authorization"), context.secret);
  if (signed) setRequestCookie(headers, context.authCookies.sessionToken.name, signed);
}

/** The longest stored texts, in characters. The limit of an address is from RFC 5321. */
const LONGEST: Record<string, number> = { name: 200, displayUsername: 200, email: 254, newEmail: 254 };

function checkBody({ body, path }: HookContext): void {
  // The username plugin reads these two bodies before the library checks their form.
  if (body === undefined && !["/sign-up/email", "/update-user"].includes(path)) return;
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw invalid("the body must be a JSON object");
  for (const [field, value] of Object.entries({ ...body.data, ...body })) {
    if (typeof value !== "string") continue;
    // Postgres cannot store such a text, and would fail.
    if (value.includes("\0")) throw invalid("a text must not contain the character U+0000");
    const most = LONGEST[field];
    if (most !== undefined && [...value].length > most) throw invalid(`${field} must have at most ${most} characters`);
  }
}

function invalid(message: string): HttpError {
  return new HttpError(400, "VALIDATION_ERROR", message);
}

/** The library lets a session younger than a day delete its account without a password. */
async function demandPassword(ctx: HookContext): Promise<void> {
  const user = await signedInUser(ctx);
  const accounts = user ? await ctx.context.internalAdapter.findAccounts(user.id) : [];
  if (accounts.some(({ password }) => password))
    throw new HttpError(400, "PASSWORD_REQUIRED", "password is missing; send the account's password");
}
