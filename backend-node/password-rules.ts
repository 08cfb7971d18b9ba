/**
 * Refuses a new password that is common, little more than its owner's name, or part of a breach.
 *
 * The check runs before the call, so that a reset link stays valid after a refusal.
 */
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware, getSessionFromCtx } from "better-auth/api";
import { within } from "./deadline.ts";
import { HttpError } from "./http-error.ts";
import type { Settings } from "./settings.ts";

export const MIN_PASSWORD_LENGTH = 8;

/** Each path that sets a password, and the member of its body that holds it. */
export const SETS_PASSWORD: Record<string, "password" | "newPassword"> = {
  "/sign-up/email": "password",
  "/change-password": "newPassword",
  "/reset-password": "newPassword",
  "/email-otp/reset-password": "password",
  "/admin/create-user": "password",
  "/admin/set-user-password": "newPassword",
};

export function passwordRules(settings: Pick<Settings, "baseURL" | "breachCheck">): BetterAuthPlugin {
  return {
    id: "password-rules",
    hooks: {
      before: [
        {
          matcher: ({ path }) => path !== undefined && path in SETS_PASSWORD,
          handler: createAuthMiddleware(async (ctx) => {
            const password = ctx.body?.[SETS_PASSWORD[ctx.path] ?? ""];
            // The library itself refuses a short password, and a value that is not a string.
            if (typeof password !== "string" || password.length < MIN_PASSWORD_LENGTH) return;
            const own = [new URL(settings.baseURL).hostname, "backend-node", ...(await ownTexts(ctx))];
            if (withoutWords(password, own).length < MIN_PASSWORD_LENGTH)
              throw refusal(
                "PASSWORD_TOO_PERSONAL",
                `without parts of your name and address, and of this site's name, the password must still have ${MIN_PASSWORD_LENGTH} characters`,
              );
            if ((await commonPasswords()).has(password.toLowerCase()))
              throw refusal("PASSWORD_TOO_COMMON", "this password is too common: attackers try it first");
            if (settings.breachCheck && (await isBreached(password, ctx.context.logger)))
              throw refusal("PASSWORD_COMPROMISED", "this password appears in a data breach");
          }),
        },
      ],
    },
  };
}

function refusal(code: string, reason: string): HttpError {
  return new HttpError(400, code, `${reason}; choose another password`);
}

type HookContext = Parameters<Parameters<typeof createAuthMiddleware>[0]>[0];

/**
 * Names and addresses of the account whose password changes.
 *
 * Not for `/admin/set-user-password`: its caller is not known to be an administrator yet, and the refusal would reveal
 * the name behind a user id.
 */
async function ownTexts(ctx: HookContext): Promise<string[]> {
  const { body } = ctx;
  const { internalAdapter } = ctx.context;
  const owners: Record<string, unknown>[] = [body];
  if (ctx.path === "/change-password") owners.push((await getSessionFromCtx(ctx))?.user ?? {});
  if (ctx.path === "/reset-password") {
    const link = await internalAdapter.findVerificationValue(`reset-password:${body.token ?? ctx.query?.token}`);
    owners.push((link && (await internalAdapter.findUserById(link.value))) ?? {});
  }
  return owners
    .flatMap(({ name, email, username }) => [name, email, username])
    .filter((text) => typeof text === "string");
}

/** The rest of a password after every word of `texts` with three letters or more is removed. */
export function withoutWords(password: string, texts: string[]): string {
  const words = texts.flatMap((text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u)).filter((word) => word.length >= 3);
  // The longest first, or "ann" would leave something of "annabel".
  return words
    .toSorted((left, right) => right.length - left.length)
    .reduce((rest, word) => rest.replaceAll(word, ""), password.toLowerCase());
}

let common: Promise<ReadonlySet<string>> | undefined;

/** The 17,950 of the 49,233 most common passwords that are long enough. Loaded for the first new password, in 25 ms. */
export function commonPasswords(): Promise<ReadonlySet<string>> {
  common ??= import("@zxcvbn-ts/language-common").then(
    // A CommonJS package: in the image's bundle it has a default export alone.
    ({ default: { dictionary } }) =>
      new Set(dictionary["passwords-common"].filter((password) => password.length >= MIN_PASSWORD_LENGTH)),
  );
  return common;
}

const BREACH_CHECK_DEADLINE_MS = 2_000;

/** Whether haveibeenpwned.com knows the password, by five characters of its hash; false when it does not answer. */
async function isBreached(password: string, logger: HookContext["context"]["logger"]): Promise<boolean> {
  const { isPasswordCompromised } = await import("better-auth/plugins/haveibeenpwned");
  try {
    return await within(BREACH_CHECK_DEADLINE_MS, isPasswordCompromised(password));
  } catch (error) {
    // An outage of the service must not block sign-up.
    logger.error("the breach check was skipped", error);
    return false;
  }
}
