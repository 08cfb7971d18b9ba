/**
 * Account events, as log lines and as mails to the owners.
 *
 * A line names the event, its outcome, the user by id and the client by the hash of its address; never an address, a
 * name, a password, a token or a code. Source of the events: OWASP ASVS 5.0, 16.3.
 */
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware, getSessionFromCtx, isAPIError } from "better-auth/api";
import type { Logger } from "pino";
import { addressHasher, CLIENT_ADDRESS_HEADER, REQUEST_ID_HEADER } from "./client-address.ts";
import { HttpError } from "./http-error.ts";
import type { Mailer } from "./mail.ts";
import type { Settings } from "./settings.ts";

/** Each path that signs a user in, with its method. */
const METHODS: Record<string, string> = {
  "/sign-in/email": "password",
  "/sign-in/username": "password",
  "/sign-in/email-otp": "email-otp",
  "/magic-link/verify": "magic-link",
  "/passkey/verify-authentication": "passkey",
  "/callback/:id": "social",
  "/two-factor/verify-totp": "totp",
  "/two-factor/verify-otp": "otp",
  "/two-factor/verify-backup-code": "backup-code",
  "/device/token": "device",
};

/** Each logged path, with the event's name. Below `/admin/` the log has every change. */
const EVENTS: Record<string, string> = {
  ...Object.fromEntries(Object.keys(METHODS).map((path) => [path, "sign-in"])),
  "/sign-up/email": "sign-up",
  "/two-factor/enable": "second-factor-prepared",
  "/two-factor/disable": "second-factor-disabled",
  "/two-factor/generate-backup-codes": "backup-codes-replaced",
  "/passkey/verify-registration": "passkey-added",
  "/passkey/delete-passkey": "passkey-removed",
  "/request-password-reset": "password-reset-requested",
  "/email-otp/request-password-reset": "password-reset-requested",
  "/forget-password/email-otp": "password-reset-requested",
  "/reset-password": "password-reset",
  "/email-otp/reset-password": "password-reset",
  "/change-password": "password-changed",
  "/verify-password": "password-verified",
  "/change-email": "address-change-requested",
  "/email-otp/request-email-change": "address-change-requested",
  "/email-otp/change-email": "address-changed",
  "/verify-email": "address-verified",
  "/email-otp/verify-email": "address-verified",
  "/link-social": "account-link-requested",
  "/unlink-account": "account-unlinked",
  "/revoke-session": "session-revoked",
  "/revoke-sessions": "session-revoked",
  "/revoke-other-sessions": "session-revoked",
  "/multi-session/revoke": "session-revoked",
  "/sign-out": "sign-out",
  "/delete-user": "account-deleted",
  "/api-key/create": "api-key-created",
  "/api-key/delete": "api-key-deleted",
  "/device/approve": "device-approved",
  "/device/deny": "device-denied",
};
const ADMIN_READS = new Set([
  "/admin/list-users",
  "/admin/get-user",
  "/admin/list-user-sessions",
  "/admin/has-permission",
]);

/** The subject of the mail to the owner when the event has succeeded. */
const NOTICES: Record<string, string> = {
  "second-factor-enabled": "A second factor was turned on",
  "second-factor-disabled": "The second factor was turned off",
  "backup-codes-replaced": "The backup codes of the second factor were replaced",
  "passkey-added": "A passkey was added",
  "passkey-removed": "A passkey was removed",
  "password-reset": "The password was reset",
  "password-changed": "The password was changed",
  "address-changed": "The mail address was changed",
  "account-unlinked": "A way to sign in was removed",
  "admin/set-user-password": "An administrator set a new password",
};

export interface AuditEvent {
  event: string;
  /** `challenge`: the password was right, the second factor is pending. */
  outcome: "success" | "failure" | "challenge";
  /** How the user signs in. */
  method?: string | undefined;
  /** The library's or this server's code of a failure. */
  code?: string | undefined;
  /** The user's id, if known. */
  user?: string | undefined;
  /** The hash of the entered address or name, if the user is unknown. */
  account?: string | undefined;
  /** The id of the user whom an administrator changed. */
  target?: string | undefined;
  /** The hash of the client's address, as in the line of the request. */
  client: string;
  requestId?: string | undefined;
}

export interface Audit {
  /** Must be the last plugin, after the plugin that ends a session without its second factor. */
  plugin: BetterAuthPlugin;
  /** Logs a call that was refused before the library got it: too many tries, a common password. */
  refused(request: Request, error: unknown): void;
}

export function createAudit({ secret }: Pick<Settings, "secret">, mailer: Mailer | undefined, log: Logger): Audit {
  const hashed = addressHasher(secret);
  const owners = new WeakMap<Request, Owner>();

  const write = (event: Omit<AuditEvent, "client" | "requestId">, headers: Headers) =>
    log.info(
      {
        ...event,
        client: hashed(headers.get(CLIENT_ADDRESS_HEADER) ?? ""),
        requestId: headers.get(REQUEST_ID_HEADER) ?? undefined,
      } satisfies AuditEvent,
      "audit",
    );

  const notify = (event: string, owner: Owner) => {
    const notice = NOTICES[event];
    if (!mailer || !notice || !owner.email) return;
    const text = `${notice}, on ${new Date().toUTCString()}.\n\nIf that was not you, reset your password now and sign out all devices.\n`;
    mailer.send(owner.email, notice, text);
  };

  const before = createAuthMiddleware(async (ctx) => {
    const owner = await ownerBefore(ctx);
    if (ctx.request && owner) owners.set(ctx.request, owner);
  });

  const after = createAuthMiddleware(async (ctx) => {
    const { request, headers } = ctx;
    if (!request || !headers) return;
    const { returned, newSession } = ctx.context;
    const known = owners.get(request);
    const answer = (typeof returned === "object" && returned) as Record<string, unknown> & { user?: Owner };
    const code = failureOf(returned);
    // A device that polls for its approval is not a failure.
    if (code === "AUTHORIZATION_PENDING" || code === "SLOW_DOWN") return;
    const outcome = code !== undefined ? "failure" : answer?.twoFactorRedirect ? "challenge" : "success";
    const event = eventOf(ctx.path, known) ?? "";
    const isAdmin = ctx.path.startsWith("/admin/");
    const entered = ctx.body?.email ?? ctx.body?.username;
    const user = newSession?.user.id ?? known?.id ?? (isAdmin ? undefined : answer?.user?.id);
    const target = isAdmin ? (ctx.body?.userId ?? answer?.user?.id) : undefined;
    const account = user === undefined && typeof entered === "string" ? hashed(entered.toLowerCase()) : undefined;
    const method = event === "sign-in" ? METHODS[ctx.path] : undefined;
    write({ event, outcome, method, code, user, account, target }, headers);
    if (outcome !== "success") return;
    const owner = isAdmin ? await ctx.context.internalAdapter.findUserById(String(target)) : known;
    if (owner) notify(event, owner);
  });

  const matcher = ({ path }: { path?: string | undefined }) => path !== undefined && eventOf(path) !== undefined;
  return {
    plugin: {
      id: "audit",
      hooks: { before: [{ matcher, handler: before }], after: [{ matcher, handler: after }] },
    },
    refused: (request, error) => {
      const event = eventOf(new URL(request.url).pathname.replace(/^\/api\/auth/, ""));
      if (event && error instanceof HttpError) write({ event, outcome: "failure", code: error.code }, request.headers);
    },
  };
}

/** The user whom a call is about. */
interface Owner {
  id: string;
  email?: string | undefined;
  twoFactorEnabled?: boolean | null;
  /** The call confirms a new mail address. */
  changesAddress?: boolean;
}

type HookContext = Parameters<Parameters<typeof createAuthMiddleware>[0]>[0];

/** The lookup precedes the call, which may remove the session, the link or the old address. */
async function ownerBefore(ctx: HookContext): Promise<Owner | undefined> {
  const { internalAdapter } = ctx.context;
  if (ctx.path === "/reset-password") {
    const link = await internalAdapter.findVerificationValue(`reset-password:${ctx.body?.token ?? ctx.query?.token}`);
    return link ? ((await internalAdapter.findUserById(link.value)) ?? undefined) : undefined;
  }
  if (ctx.path === "/email-otp/reset-password")
    return typeof ctx.body?.email === "string"
      ? (await internalAdapter.findUserByEmail(ctx.body.email))?.user
      : undefined;
  if (ctx.path === "/verify-email") {
    // The library checks the signature. The event uses this only after a success.
    const { email, userId, requestType } = unverifiedClaims(ctx.query?.token);
    if (userId) return { id: userId, email, changesAddress: requestType === "change-email-verification" };
  }
  return (await getSessionFromCtx(ctx))?.user;
}

function unverifiedClaims(token: unknown): Record<string, string> {
  try {
    return JSON.parse(Buffer.from(String(token).split(".")[1] ?? "", "base64url").toString()) ?? {};
  } catch {
    return {};
  }
}

function eventOf(path: string, owner?: Owner): string | undefined {
  if (path === "/two-factor/verify-totp" && owner && !owner.twoFactorEnabled) return "second-factor-enabled";
  if (path === "/verify-email" && owner?.changesAddress) return "address-changed";
  if (path.startsWith("/admin/") && !ADMIN_READS.has(path)) return path.slice(1);
  return EVENTS[path];
}

/** The code of a failure, or undefined. A call may also fail by a redirect that names the error. */
function failureOf(returned: unknown): string | undefined {
  if (!isAPIError(returned)) return undefined;
  if (returned.statusCode < 300 || returned.statusCode >= 400) {
    const { code, error } = (returned.body ?? {}) as { code?: string; error?: string };
    return code ?? error?.toUpperCase() ?? String(returned.status);
  }
  const target = new Headers(returned.headers).get("location") ?? "";
  return /[?&]error=([^&#]*)/.exec(target)?.[1];
}
