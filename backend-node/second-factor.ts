/** A code of an authenticator app signs in once. The library takes it again for as long as it is valid: ASVS 5.0, 6.5.1. */
import type { BetterAuthPlugin } from "better-auth";
import { APIError, createAuthMiddleware } from "better-auth/api";
import { accountBySecondFactor } from "./guesses.ts";

/** Longer than a code is valid, by far: 30 s, and as much before and after. */
const PERIOD_MS = 600_000;

/** Has a code noted before it is looked at, so that of two at the same moment one fails. */
export const codesOnce: BetterAuthPlugin = {
  id: "codes-once",
  hooks: {
    before: [
      {
        matcher: ({ path }) => path === "/two-factor/verify-totp",
        handler: createAuthMiddleware(async (ctx) => {
          const account = await accountBySecondFactor(ctx);
          if (!account || typeof ctx.body?.code !== "string") return;
          const period = Math.floor(Date.now() / PERIOD_MS);
          // In the next period as well: a code may be used at the end of one and at the start of another.
          for (const noted of [period, period + 1]) {
            const identifier = `totp ${account.mail} ${ctx.body.code} ${noted}`;
            const expiresAt = new Date((noted + 1) * PERIOD_MS);
            if (!(await ctx.context.internalAdapter.reserveVerificationValue({ identifier, value: "", expiresAt })))
              throw new APIError("UNAUTHORIZED", { code: "INVALID_CODE", message: "This code was used already" });
          }
        }),
      },
    ],
  },
};
