/**
 * The hash of a sign-up's password, made before the library starts its transaction.
 *
 * The library hashes inside the transaction. On SQLite a transaction holds the only connection, so other calls wait, and
 * sign-ups hash in sequence. Source: better-auth 1.7 `api/routes/sign-up.ts`.
 */
import { getCurrentAuthContext } from "@better-auth/core/context";
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { hashPassword } from "./password.ts";

const ready = new WeakMap<Request, { password: string; hash: string }>();

/** Must be the last plugin, so that refused sign-ups cost no hash. */
export const hashAhead: BetterAuthPlugin = {
  id: "hash-ahead",
  hooks: {
    before: [
      {
        matcher: ({ path }) => path === "/sign-up/email",
        handler: createAuthMiddleware(async ({ body, context, request }) => {
          const { password } = body;
          const { minPasswordLength, maxPasswordLength } = context.password.config;
          if (context.options.emailAndPassword?.disableSignUp || typeof password !== "string") return;
          if (password.length < minPasswordLength || password.length > maxPasswordLength) return;
          if (request) ready.set(request, { password, hash: await hashPassword(password) });
        }),
      },
    ],
  },
};

/** The current call's early hash, if it is of this password. */
export async function readyHash(password: string): Promise<string | undefined> {
  const { request } = await getCurrentAuthContext();
  const made = request && ready.get(request);
  return made?.password === password ? made.hash : undefined;
}
