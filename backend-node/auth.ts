/** Better Auth on its database: opened in the background, asked through `handle`. */
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { bearer } from "better-auth/plugins/bearer";
import type { Logger } from "pino";
import { type Database, openDatabase } from "./database.ts";
import type { Settings } from "./settings.ts";

export interface AuthService {
  database: Pick<Database, "kind" | "durable">;
  /** Last known state of the database; never waits. */
  connected(): boolean;
  /** Asks the database now. */
  ping(): Promise<boolean>;
  /** Answers a request for `/api/auth/*`. Rejects when the library does. */
  handle(request: Request): Promise<Response>;
  close(): Promise<void>;
}

/** The header that carries the client's address to the library; a caller's own copy never gets that far. */
export const CLIENT_ADDRESS_HEADER = "x-auth-client-address";

// The library adds these to what it is told here. Source: better-auth 1.7 `context/helpers.ts`, `create-context.ts`.
delete process.env.BETTER_AUTH_TRUSTED_ORIGINS;
delete process.env.BETTER_AUTH_SECRETS;

export async function openAuth(settings: Settings, log: Logger): Promise<AuthService> {
  const database = openDatabase(settings.database);
  if (!database.durable)
    log.warn("the SQLite file is on the container's own disk: accounts are lost at the next restart");
  const options = authOptions(settings, database, log);
  const { runMigrations, toBeCreated, toBeAdded } = await getMigrations(options);
  await runMigrations();
  log.info({ created: toBeCreated.length, changed: toBeAdded.length }, "schema up to date");
  // After the migration: the library compares the schema when it is built.
  const auth = betterAuth(options);
  await auth.$context;
  return {
    database,
    connected: () => true,
    ping: () =>
      database.ping().then(
        () => true,
        () => false,
      ),
    handle: auth.handler,
    close: database.close,
  };
}

function authOptions(settings: Settings, database: Database, log: Logger) {
  return {
    appName: "backend-node",
    baseURL: settings.baseURL,
    basePath: "/api/auth",
    secret: settings.secret,
    trustedOrigins: settings.trustedOrigins,
    database: database.connection,
    telemetry: { enabled: false },
    rateLimit: { enabled: false },
    emailAndPassword: { enabled: true, minPasswordLength: 8, maxPasswordLength: 128 },
    advanced: { ipAddress: { ipAddressHeaders: [CLIENT_ADDRESS_HEADER] } },
    // Errors reach the caller of `handle`, which answers in the server's own shape and logs them.
    onAPIError: { throw: true },
    logger: {
      level: "warn" as const,
      disableColors: true,
      log: (level: string, message: string, ...details: unknown[]) => {
        const err = details.find((detail) => detail instanceof Error);
        log[level === "error" ? "error" : "warn"]({ err }, message);
      },
    },
    plugins: [bearer({ requireSignature: true })],
  };
}
