/** Better Auth on its database. It opens in the background, retries until the database answers, and serves `handle`. */
import { setTimeout as delay } from "node:timers/promises";
import { runWithAdapter } from "@better-auth/core/context";
import { type BetterAuthOptions, betterAuth } from "better-auth";
import { router } from "better-auth/api";
import { getMigrations } from "better-auth/db/migration";
import type { Logger } from "pino";
import { createAudit } from "./audit.ts";
import { authOptions } from "./auth-options.ts";
import { type Database, openDatabase } from "./database.ts";
import { SENDS_MAIL } from "./guard.ts";
import { refunds } from "./guesses.ts";
import { databaseAway, databaseFull, HttpError } from "./http-error.ts";
import { reason } from "./log.ts";
import { createMailer } from "./mail.ts";
import { createRateLimits, RATE_LIMIT_TABLE, type RateLimits } from "./rate-limits.ts";
import { sessionReader } from "./session.ts";
import { endOldSessions, refused } from "./session-limits.ts";
import type { Settings } from "./settings.ts";

export interface AuthService {
  database: Pick<Database, "kind" | "durable" | "full">;
  limits: RateLimits;
  /** A path below `/api/auth` as the library declares it, with its methods; undefined before it is loaded. */
  route(path: string): Route | undefined;
  /** Whether a call of that path may send a mail, which its answer must not reveal. */
  sendsMail(path: string): boolean;
  /** Whether the database answered the last probe. Never waits. */
  connected(): boolean;
  /** Probes the database and its schema now. */
  ping(): Promise<boolean>;
  /** Answers a request for `/api/auth/*`. @throws HttpError; else what the library throws. */
  handle(request: Request): Promise<Response>;
  /** The body of `GET get-session`, or undefined when only `handle` can answer. @throws HttpError. */
  session(cookie: string | undefined, authorization: string | undefined): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface Route {
  path: string;
  methods: string[];
}

/** The schema needs a change that could lose data. A retry cannot help. */
export class UnsafeSchema extends Error {}

const CHECK_EVERY_MS = 2_000;
/** Longest wait of a request for a server that is still starting. */
const START_WAIT_MS = 5_000;

// The library adds these to the options given here. Source: better-auth 1.7 `context/helpers.ts`, `create-context.ts`.
delete process.env.BETTER_AUTH_TRUSTED_ORIGINS;
delete process.env.BETTER_AUTH_SECRETS;
// At every query the library detects a colour terminal through a dozen variables. This is the first.
process.env.FORCE_COLOR = "0";

/**
 * Starts to open the database and the library on it, and keeps trying.
 *
 * @param onFatal gets an error that no retry can fix.
 */
export async function openAuth(settings: Settings, log: Logger, onFatal: (error: Error) => void): Promise<AuthService> {
  const database = await openDatabase(settings, log);
  if (!database.durable)
    log.warn(
      "the SQLite file is on the container's own disk: the next restart deletes all accounts; set a Postgres DATABASE_URL",
    );
  const limits = createRateLimits(settings.secret, database.pool);
  const mailer = settings.mail && createMailer(settings.mail, log);
  const audit = createAudit(settings, mailer, log);
  const options = await authOptions(settings, { database, limits, audit, mailer, log });
  const closing = new AbortController();
  let library: Library | undefined;
  let connected = false;
  /** Number of probes in a row without an answer. */
  let silences = 0;
  /** An entry for each call that waits for the database. */
  const abandoners = new Set<(reason: HttpError) => void>();

  let pinging: Promise<boolean> | undefined;
  /** A single probe at a time, for any number of callers. */
  const ping = (): Promise<boolean> => {
    pinging ??= askDatabase().finally(() => {
      pinging = undefined;
    });
    return pinging;
  };
  const askDatabase = async (): Promise<boolean> => {
    const before = connected;
    try {
      await database.ping();
      connected = library !== undefined;
      silences = 0;
    } catch (error) {
      connected = false;
      silences++;
      if (before) log.error({ reason: reason(error) }, "the database does not answer");
      // A single failure may be a short load. A call has several queries, and each would wait for its own deadline.
      if (silences > 1) for (const abandon of abandoners) abandon(databaseAway());
    }
    if (!before && connected) log.info("the database answers again");
    return connected;
  };

  const open = async (): Promise<void> => {
    await database.exclusively(() => migrate(options, database, log));
    library = await createLibrary(options, settings);
    connected = true;
    log.info({ database: database.kind }, "ready");
  };

  /** Settles after the first try, successful or not. */
  const firstTry = Promise.withResolvers<void>();
  const keepTrying = async (): Promise<void> => {
    for (let wait = 250; !closing.signal.aborted; wait = Math.min(wait * 2, CHECK_EVERY_MS)) {
      try {
        return await open();
      } catch (error) {
        if (error instanceof UnsafeSchema) return onFatal(error);
        log.error({ reason: reason(error) }, "cannot open the database yet");
      } finally {
        firstTry.resolve();
      }
      await delay(wait);
    }
  };
  void keepTrying();
  // An outage shows in /health even while no request arrives.
  const watch = setInterval(() => library && void ping(), CHECK_EVERY_MS);

  /** Waits for the library and returns the result of `use`. A database failure becomes an HttpError. */
  const withLibrary = async <T>(use: (library: Library) => Promise<T>): Promise<T> => {
    if (!library) await Promise.race([firstTry.promise, delay(START_WAIT_MS, undefined, { ref: false })]);
    // In an outage, refuse at once instead of waiting for every query's deadline.
    if (!library || (!connected && !(await ping()))) throw databaseAway();
    const { promise: abandoned, reject: abandon } = Promise.withResolvers<never>();
    abandoners.add(abandon);
    try {
      return await Promise.race([use(library), abandoned]);
    } catch (error) {
      if (error instanceof HttpError) throw error;
      if (!(await ping())) throw databaseAway();
      if (database.full()) throw databaseFull();
      throw error;
    } finally {
      abandoners.delete(abandon);
    }
  };

  return {
    database,
    limits,
    route: (path) => library?.route(path),
    sendsMail: (path) =>
      settings.mail !== undefined &&
      (SENDS_MAIL.has(path) || (path === "/sign-up/email" && settings.signUp === "verified")),
    connected: () => connected,
    ping,
    handle: (request) =>
      withLibrary(async ({ handle }) => {
        // The library reports a sign-out that it could not store as a success, with the cookie gone.
        const isSignOut = request.url.endsWith("/sign-out");
        if (isSignOut && !(await ping())) throw databaseAway();
        const response = await handle(request).catch((error) => {
          audit.refused(request, error);
          throw error;
        });
        // It also treats a failed session lookup as no session, which would sign the user out.
        const inDoubt = response.status >= 500 || response.status === 401 || isSignOut;
        if (inDoubt && !(await ping())) throw databaseAway();
        // It answers a failed write with 401, 422 or 500.
        if (response.status >= 400 && database.full()) throw databaseFull();
        return response;
      }).catch((error) => {
        refused.add(request);
        throw error;
      }),
    session: (cookie, authorization) => withLibrary(({ readSession }) => readSession(cookie, authorization)),
    close: async () => {
      closing.abort();
      clearInterval(watch);
      await mailer?.close();
      await database.close();
    },
  };
}

interface Library {
  route(path: string): Route | undefined;
  handle(request: Request): Promise<Response>;
  readSession(cookie: string | undefined, authorization: string | undefined): Promise<string | undefined>;
}

/**
 * The library's handler with its router built once instead of for every request, which halves the work of a short
 * call. Source: better-auth issue 10188. `test/router.test.ts` fails when an update makes the two differ.
 */
export async function createLibrary(
  options: BetterAuthOptions,
  settings: Pick<Settings, "secret" | "sessions">,
): Promise<Library> {
  const auth = betterAuth(options);
  const context = await auth.$context;
  endOldSessions(context, settings.sessions.greatestAge);
  const { handler, endpoints } = router(context, auth.options);
  const routes = new Map<string, Route>();
  for (const { path, options } of Object.values(endpoints) as Endpoint[]) {
    if (!path || options.metadata?.SERVER_ONLY) continue;
    const route = routes.get(parameterless(path)) ?? { path, methods: [] };
    route.methods.push(...[options.method].flat());
    routes.set(parameterless(path), route);
  }
  return {
    route: (path) => routes.get(path) ?? routes.get(path.replace(/[^/]*$/, ":")),
    handle: async (request) => {
      let status = 500;
      try {
        const response = await runWithAdapter(context.adapter, () => handler(request));
        status = response.status;
        return response;
      } finally {
        // A right password is not a guess. Neither is a password that was never verified.
        if (status < 400 || status >= 500) await refunds.get(request)?.();
      }
    },
    readSession: sessionReader(context, settings.secret, settings.sessions.cached > 0),
  };
}

interface Endpoint {
  path?: string;
  options: { method: string | string[]; metadata?: { SERVER_ONLY?: boolean } };
}

/** `/callback/:id` as `/callback/:`. */
function parameterless(path: string): string {
  return path.replace(/:[^/]*$/, ":");
}

/** Creates what the schema lacks. @throws UnsafeSchema when a column cannot be added without losing rows. */
async function migrate(options: BetterAuthOptions, database: Database, log: Logger): Promise<void> {
  const plan = await getMigrations(options, { throwOnUnsafe: false });
  if (plan.unsafeChanges.length > 0) throw new UnsafeSchema(plan.unsafeChanges.join(" "));
  await plan.runMigrations();
  await database.pool?.query(RATE_LIMIT_TABLE);
  log.info({ tables: plan.toBeCreated.length, changed: plan.toBeAdded.length }, "schema up to date");
}
