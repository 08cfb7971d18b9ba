/** What is checked before the library sees a call: the form of its body, and how often its caller has tried. */
import { createAuthMiddleware, getSessionFromCtx } from "better-auth/api";
import { CLIENT_ADDRESS_HEADER } from "./client-address.ts";
import { HttpError } from "./http-error.ts";
import type { RateLimits } from "./rate-limits.ts";

/** Paths whose body holds a password or a second factor that could be guessed. */
const GUESSABLE = new Set([
  "/sign-in/email",
  "/sign-in/username",
  "/change-password",
  "/verify-password",
  "/delete-user",
  "/two-factor/enable",
  "/two-factor/disable",
  "/two-factor/verify-totp",
  "/two-factor/verify-backup-code",
]);
/** Gives back the tries that a request has taken. */
export const refunds = new WeakMap<Request, () => Promise<void>>();
const SENDS_MAIL = new Set(["/request-password-reset", "/send-verification-email"]);

/** The hook that runs before each call. */
export function guard(limits: RateLimits) {
  return createAuthMiddleware(async (ctx) => {
    // The username plugin reads these bodies before the library has looked at their form.
    const isObject = typeof ctx.body === "object" && ctx.body !== null && !Array.isArray(ctx.body);
    if (!isObject && (ctx.body !== undefined || ["/sign-up/email", "/update-user"].includes(ctx.path)))
      throw new HttpError(400, "VALIDATION_ERROR", "the body must be a JSON object");
    // Postgres keeps no such text, and would fail.
    if (isObject && Object.values(ctx.body).some((value) => typeof value === "string" && value.includes("\0")))
      throw new HttpError(400, "VALIDATION_ERROR", "a text must not contain the character U+0000");
    const { address, account } = requestSubjects(ctx);
    // The library lets a session younger than a day delete its account without asking.
    if (ctx.path === "/delete-user" && !ctx.body?.password) {
      const session = await getSessionFromCtx(ctx);
      const accounts = session ? await ctx.context.internalAdapter.findAccounts(session.user.id) : [];
      if (accounts.some(({ password }) => password))
        throw new HttpError(400, "PASSWORD_REQUIRED", "the password is needed");
    }
    if (GUESSABLE.has(ctx.path)) {
      await limits.take("passwordsPerAddress", address);
      await limits.take("passwordsPerAccount", ...account);
      if (ctx.request)
        refunds.set(ctx.request, async () => {
          await limits.giveBack("passwordsPerAddress", address);
          await limits.giveBack("passwordsPerAccount", ...account);
        });
    } else if (ctx.path === "/sign-up/email") await limits.take("signUpsPerAddress", address);
    else if (SENDS_MAIL.has(ctx.path)) await limits.take("mails", address, ...account);
  });
}

/** Whose tries a call counts for. */
const requestSubjects = (ctx: { headers?: Headers | undefined; body?: Record<string, unknown> }) => ({
  address: ctx.headers?.get(CLIENT_ADDRESS_HEADER) ?? "",
  account: [ctx.body?.email ?? ctx.body?.username].filter((name) => typeof name === "string"),
});
