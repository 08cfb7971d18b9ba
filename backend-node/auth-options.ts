/** The library's options: passwords, mail, social sign-in, cookies, plugins. */
import { getCurrentAuthContext, getCurrentAuthEndpointContext } from "@better-auth/core/context";
import type { BetterAuthOptions } from "better-auth";
import type { Logger } from "pino";
import type { Audit } from "./audit.ts";
import { CLIENT_ADDRESS_HEADER } from "./client-address.ts";
import type { Database } from "./database.ts";
import { guard, rememberDevice } from "./guard.ts";
import { hashAhead, readyHash } from "./hash-ahead.ts";
import { reason } from "./log.ts";
import type { Mailer } from "./mail.ts";
import { hashPassword, isOutdated, verifyPassword } from "./password.ts";
import { MIN_PASSWORD_LENGTH } from "./password-rules.ts";
import { createPlugins } from "./plugins.ts";
import type { RateLimits } from "./rate-limits.ts";
import { sessionOptions } from "./session-limits.ts";
import type { Settings } from "./settings.ts";

/** The parts that the options use. */
export interface Parts {
  database: Database;
  limits: RateLimits;
  audit: Audit;
  /** Undefined without mail. */
  mailer: Mailer | undefined;
  log: Logger;
}

/** The options of `betterAuth`. */
export async function authOptions(settings: Settings, { database, limits, audit, mailer, log }: Parts) {
  const { signUp } = settings;
  const closed = signUp === "closed";
  const site = new URL(settings.baseURL).host;
  return {
    appName: "backend-node",
    baseURL: settings.baseURL,
    basePath: "/api/auth",
    secret: settings.secret,
    trustedOrigins: settings.trustedOrigins,
    database: database.connection,
    telemetry: { enabled: false },
    rateLimit: { enabled: false },
    emailAndPassword: {
      enabled: true,
      minPasswordLength: MIN_PASSWORD_LENGTH,
      maxPasswordLength: 128,
      disableSignUp: closed,
      requireEmailVerification: signUp === "verified",
      revokeSessionsOnPasswordReset: true,
      customSyntheticUser: syntheticUser,
      password: {
        hash: async (password: string) => (await readyHash(password)) ?? hashPassword(password),
        verify: async (given: { hash: string; password: string }) => {
          const right = await verifyPassword(given);
          if (right && isOutdated(given.hash)) await replaceHash(given);
          return right;
        },
      },
      ...(mailer && {
        sendResetPassword: async ({ user, url }: { user: { email: string }; url: string }) =>
          mailer.send(user.email, "Reset your password", `Choose a new password here, within an hour:\n\n${url}\n`),
      }),
    },
    ...(mailer && {
      emailVerification: {
        sendOnSignUp: signUp === "verified",
        sendVerificationEmail: async ({ user, url }: { user: { email: string }; url: string }) =>
          mailer.send(
            user.email,
            "Confirm your address",
            // A stranger may have signed up with this address, and would own the verified account.
            `Confirm your mail address here:\n\n${url}\n\nIf you did not sign up at ${site}, do not follow this link.\n`,
          ),
      },
    }),
    socialProviders: Object.fromEntries(
      Object.entries(settings.social).map(([id, client]) => [id, { ...client, disableSignUp: closed }]),
    ),
    user: {
      deleteUser: { enabled: true },
      ...(mailer && {
        changeEmail: {
          enabled: true,
          sendChangeEmailConfirmation: async ({
            user,
            newEmail,
            url,
          }: {
            user: { email: string };
            newEmail: string;
            url: string;
          }) =>
            mailer.send(
              user.email,
              "Change your address",
              `Your mail address is to become ${newEmail}. If you want that, go on here:\n\n${url}\n`,
            ),
        },
      }),
    },
    account: { encryptOAuthTokens: true },
    // A reader of the table must not find valid reset links.
    verification: { storeIdentifier: "hashed" },
    session: sessionOptions(settings),
    advanced: {
      ipAddress: { ipAddressHeaders: [CLIENT_ADDRESS_HEADER] },
      // One query per session look-up instead of two; on SQLite two are faster.
      database: { joins: database.kind === "postgres" },
      ...(settings.cookieMode === "cross-site" && {
        defaultCookieAttributes: { sameSite: "none" as const, secure: true, partitioned: true },
      }),
    },
    // Errors reach the caller of `handle`, which logs them and answers in the server's format.
    onAPIError: { throw: true },
    logger: {
      level: "error" as const,
      disableColors: true,
      log: (_level: string, message: string, ...details: unknown[]) =>
        log.error({ reason: details.map(reason).join("; ") || undefined }, message),
    },
    plugins: [...(await createPlugins(settings, mailer)), audit.plugin, rememberDevice, hashAhead],
    hooks: { before: guard(settings, limits) },
  } satisfies BetterAuthOptions;
}

/** The answer to a sign-up with a taken address, like a new user. The library's answer lacks the plugins' fields. */
function syntheticUser({ coreFields, id }: { coreFields: object; id: string }): Record<string, unknown> {
  const { username, displayUsername = username } = getCurrentAuthEndpointContext().body ?? {};
  const plugins = { username: username?.toLowerCase(), displayUsername, role: "user", banned: false };
  return { ...coreFields, ...plugins, id };
}

/** Replaces an outdated hash. The salt makes the hash unique, so it identifies its row. */
async function replaceHash({ hash, password }: { hash: string; password: string }): Promise<void> {
  const { context } = await getCurrentAuthContext();
  await context.adapter.updateMany({
    model: "account",
    where: [{ field: "password", value: hash }],
    update: { password: await hashPassword(password) },
  });
}
