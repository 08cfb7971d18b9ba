/**
 * How long a session lasts: it ends after a time without use and at a greatest age, and an old one may not change how its
 * owner signs in.
 *
 * The library has the first limit alone. Without the others a session in use never ends, and can change the mail address
 * at any time. Source: ASVS 5.0, 7.3.2 and 7.5.1.
 */
import type { AuthContext, BetterAuthOptions, BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware, getSessionFromCtx } from "better-auth/api";
import { HttpError } from "./http-error.ts";
import type { Settings } from "./settings.ts";

const DAY = 86_400;

/** The library's own part. */
export function sessionOptions({ sessions }: Settings): NonNullable<BetterAuthOptions["session"]> {
  return {
    expiresIn: sessions.idle,
    // A session in use is prolonged at most so often, to save the write.
    updateAge: Math.min(DAY, Math.floor(sessions.idle / 7)),
    freshAge: sessions.fresh,
    // Signed copies of the session in a second cookie, by which most calls go until it is so old.
    ...(sessions.cached > 0 && { cookieCache: { enabled: true, maxAge: sessions.cached } }),
  };
}

/** Ends a session at its greatest age, wherever the library looks one up. */
export function endOldSessions(context: Pick<AuthContext, "internalAdapter">, greatestAge: number): void {
  const adapter = context.internalAdapter;
  const findSession = adapter.findSession;
  adapter.findSession = async (token) => {
    const found = await findSession(token);
    if (!found || ageOf(found.session) < greatestAge) return found;
    await adapter.deleteSession(token);
    return null;
  };
}

/**
 * Requests that got an error during a database outage. The library goes on with such a request when the database answers
 * again: it must keep the caller's session, and end the new session, whose token no client has.
 */
export const refused = new WeakSet<Request>();

/** Each path that signs a user in with a new session. */
const SIGNS_IN = /^\/(sign-in|sign-up|callback|magic-link|passkey\/verify-auth|two-factor\/verify)/;

/** Changes how the owner signs in, and needs no password. */
const SENSITIVE = new Set([
  "/change-email",
  "/email-otp/request-email-change",
  "/email-otp/change-email",
  "/passkey/verify-registration",
  "/passkey/delete-passkey",
  "/link-social",
  "/unlink-account",
  "/api-key/create",
]);

/** Also closed to API keys, which the library treats as an always fresh session. A session needs the password here. */
const OWNERS = /^\/(change-password|delete-user|two-factor\/.*|update-user)$/;

export function sessionLimits({ plugins, sessions }: Settings): BetterAuthPlugin {
  return {
    id: "session-limits",
    init: () => ({
      options: {
        databaseHooks: {
          session: {
            create: {
              // The library gives a session without `rememberMe` a day, even if the limits are shorter.
              before: async ({ expiresAt }) => ({
                data: { expiresAt: new Date(Math.min(expiresAt.valueOf(), Date.now() + sessions.idle * 1000)) },
              }),
            },
          },
        },
      },
    }),
    hooks: {
      before: [
        {
          matcher: ({ path, headers }) =>
            (headers?.has("x-api-key") ?? false) && path !== undefined && (SENSITIVE.has(path) || OWNERS.test(path)),
          handler: createAuthMiddleware(async () => {
            throw new HttpError(403, "API_KEY_NOT_ALLOWED", "an API key may not change how its owner signs in");
          }),
        },
        {
          matcher: ({ path, body }) =>
            path !== undefined && (SENSITIVE.has(path) || (path === "/update-user" && body?.username !== undefined)),
          handler: createAuthMiddleware(async (ctx) => {
            // From the database: a signed copy may belong to a revoked session.
            const found = await getSessionFromCtx(ctx, { disableCookieCache: true });
            if (!found) throw new HttpError(401, "UNAUTHORIZED", "no user is signed in; sign in first");
            if (ageOf(found.session) >= sessions.fresh)
              throw new HttpError(
                403,
                "SESSION_NOT_FRESH",
                "this session is too old for a sensitive change; sign in again",
              );
          }),
        },
      ],
      // After the second factor's plugin, which takes back the session of a password alone.
      after: [
        {
          matcher: ({ path }) => path !== undefined && SIGNS_IN.test(path) && !plugins.includes("multi-session"),
          handler: createAuthMiddleware(async (ctx) => {
            const { authCookies, internalAdapter, newSession, secret } = ctx.context;
            if (newSession && ctx.request && refused.has(ctx.request))
              return await internalAdapter.deleteSession(newSession.session.token);
            const before = await ctx.getSignedCookie(authCookies.sessionToken.name, secret);
            // Its cookie is overwritten, so no sign-out could end it. Source: ASVS 5.0, 7.2.4.
            if (before && newSession && before !== newSession.session.token)
              await internalAdapter.deleteSession(before);
          }),
        },
      ],
    },
  };
}

/** In seconds. */
function ageOf({ createdAt }: { createdAt: Date }): number {
  return (Date.now() - new Date(createdAt).valueOf()) / 1000;
}
