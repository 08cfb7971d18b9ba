/** A code of an authenticator app signs in once. The library accepts it repeatedly. Source: ASVS 5.0, 6.5.1. */
import type { BetterAuthPlugin } from "better-auth";
import { APIError, createAuthMiddleware } from "better-auth/api";
import { accountBySecondFactor } from "./guesses.ts";

/** Far longer than a code's validity: its 30 s period and those before and after. */
const PERIOD_MS = 600_000;

/** Notes each code before the library verifies it, so that of two simultaneous requests only the first can succeed. */
export const codesOnce: BetterAuthPlugin = {
  id: "codes-once",
  hooks: {
    before: [
      {
        matcher: ({ path }) => path === "/two-factor/verify-totp",
        handler: createAuthMiddleware(async (ctx) => {
          const account = await accountBySecondFactor(ctx);
          // The code that enables the factor does not count: its owner may sign in with it immediately.
          if (account?.by !== "second factor" || typeof ctx.body?.code !== "string") return;
          const period = Math.floor(Date.now() / PERIOD_MS);
          // In the next period as well, for a code that is sent at the end of this period and again at the start of the next.
          for (const noted of [period, period + 1]) {
            const identifier = `totp ${account.mail} ${ctx.body.code} ${noted}`;
            const expiresAt = new Date((noted + 1) * PERIOD_MS);
            if (!(await ctx.context.internalAdapter.reserveVerificationValue({ identifier, value: "", expiresAt })))
              throw new APIError("UNAUTHORIZED", {
                code: "INVALID_CODE",
                message: "This code was already used; wait for the next code",
              });
          }
        }),
      },
    ],
  },
};
