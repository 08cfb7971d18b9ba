/** The account whose password or code a call guesses, and whether its caller may try again yet. */
import type { createAuthMiddleware } from "better-auth/api";
import { networkOf } from "./client-address.ts";
import { DEVICE_COOKIE, knownDevice } from "./known-device.ts";
import type { RateLimits } from "./rate-limits.ts";
import { signedToken } from "./session.ts";

export type HookContext = Parameters<Parameters<typeof createAuthMiddleware>[0]>[0];

interface Account {
  /** Its mail address. A guess at an address without an account counts for that address. */
  mail: string;
  /** A signed-in user's guesses count separately, so that strangers cannot use them up. */
  by: "stranger" | "user" | "second factor";
}

/** The account that the route will use; undefined without an account. */
type AccountOf = (ctx: HookContext) => Promise<Account | undefined>;

const byMail: AccountOf = async (ctx) => {
  const mail = mailOf(ctx);
  return mail === undefined ? undefined : { mail, by: "stranger" };
};

/** The user name and the mail address of an account share a count. */
const byUserName: AccountOf = async ({ body, context }) => {
  if (typeof body?.username !== "string") return undefined;
  const value = body.username.toLowerCase();
  const where = [{ field: "username", value }];
  const user = await context.adapter.findOne<{ email: string }>({ model: "user", where });
  return { mail: user?.email ?? value, by: "stranger" };
};

const bySession: AccountOf = async (ctx) => {
  const user = await signedInUser(ctx);
  return user && { mail: user.email, by: "user" };
};

/** The library takes the session first, then the cookie of a sign-in that lacks its second factor. */
export const accountBySecondFactor: AccountOf = async (ctx) => {
  const { createAuthCookie, internalAdapter, secret } = ctx.context;
  const signedIn = await bySession(ctx);
  if (signedIn) return signedIn;
  const identifier = await ctx.getSignedCookie(createAuthCookie("two_factor").name, secret);
  const half = identifier ? await internalAdapter.findVerificationValue(identifier) : undefined;
  const user = half ? await internalAdapter.findUserById(half.value) : undefined;
  return user ? { mail: user.email, by: "second factor" } : undefined;
};

/** Paths whose body holds a guessable password, code or second factor. */
const GUESSABLE: Record<string, AccountOf> = {
  "/sign-in/email": byMail,
  "/sign-in/email-otp": byMail,
  "/email-otp/check-verification-otp": byMail,
  "/email-otp/verify-email": byMail,
  "/email-otp/reset-password": byMail,
  "/sign-in/username": byUserName,
  // The code that a device shows. The first path is open to callers who are not signed in.
  "/device": async () => undefined,
  "/device/approve": bySession,
  "/device/deny": bySession,
  "/change-password": bySession,
  "/verify-password": bySession,
  "/delete-user": bySession,
  "/two-factor/enable": bySession,
  "/two-factor/disable": bySession,
  "/two-factor/get-totp-uri": bySession,
  "/two-factor/generate-backup-codes": bySession,
  "/two-factor/verify-totp": accountBySecondFactor,
  "/two-factor/verify-otp": accountBySecondFactor,
  "/two-factor/verify-backup-code": accountBySecondFactor,
};

/** Refunds the tries of a request. */
export const refunds = new WeakMap<Request, () => Promise<void>>();

/**
 * Takes a try for the network `address` and for the account, if the call is a guess.
 *
 * A device that has signed in to the account before, and a network with a session of it, have separate tries, so that
 * strangers' guesses do not lock the owner out.
 *
 * @throws HttpError 429.
 */
export async function takeGuess(ctx: HookContext, limits: RateLimits, address: string): Promise<void> {
  const accountOf = GUESSABLE[ctx.path];
  if (!accountOf) return;
  const taken: (() => Promise<void>)[] = [];
  const take = async (subject: string) => {
    await limits.takeGuess(subject);
    taken.push(() => limits.giveBackGuess(subject));
  };
  const account = await accountOf(ctx);
  const subject = account && `${account.by} ${account.mail}`;
  const cookie = ctx.getCookie(ctx.context.createAuthCookie(DEVICE_COOKIE).name);
  const device = account && knownDevice(ctx.context.secret, account.mail, cookie);
  if (device !== undefined) await take(`${subject} ${device}`);
  else {
    await limits.take("passwordsPerAddress", address);
    taken.push(() => limits.giveBack("passwordsPerAddress", address));
    if (account)
      await take(`${subject}`).catch(async (refusal) => {
        if (!(await isSignedInFrom(ctx, account.mail, address))) throw refusal;
        await take(`${subject} ${address}`);
      });
  }
  if (ctx.request)
    refunds.set(ctx.request, async () => {
      for (const giveBack of taken) await giveBack();
    });
}

/** The mail address in a call's body, spelled as the library looks it up. */
export function mailOf({ body }: HookContext): string | undefined {
  const mail = body?.email ?? body?.newEmail;
  return typeof mail === "string" ? mail.toLowerCase() : undefined;
}

/** The account of the call's session, from the database and not from a cached copy. */
export async function signedInUser(ctx: HookContext): Promise<{ id: string; email: string } | undefined> {
  const { authCookies, internalAdapter, secret } = ctx.context;
  const bearer = signedToken(ctx.headers?.get("authorization"), secret)?.replace(/\.[^.]*$/, "");
  const token = bearer ?? (await ctx.getSignedCookie(authCookies.sessionToken.name, secret));
  const found = token ? await internalAdapter.findSession(token) : undefined;
  return found && found.session.expiresAt.valueOf() > Date.now() ? found.user : undefined;
}

async function isSignedInFrom(ctx: HookContext, mail: string, address: string): Promise<boolean> {
  const { adapter, internalAdapter } = ctx.context;
  const found = await internalAdapter.findUserByEmail(mail);
  const sessions = await adapter.findMany<{ ipAddress?: string | null; expiresAt: Date }>({
    model: "session",
    // The lookup runs without an account too, so that the time does not reveal whether it exists.
    where: [{ field: "userId", value: found?.user.id ?? "" }],
  });
  const now = Date.now();
  return sessions.some(
    ({ ipAddress, expiresAt }) => expiresAt.valueOf() > now && networkOf(ipAddress ?? "") === address,
  );
}
