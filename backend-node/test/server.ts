/** A library on a fresh SQLite file, and a server in this process, for the tests. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { BetterAuthOptions } from "better-auth";
import { createAudit } from "../audit.ts";
import { createLibrary, openAuth } from "../auth.ts";
import { authOptions } from "../auth-options.ts";
import { CLIENT_ADDRESS_HEADER } from "../client-address.ts";
import { openDatabase } from "../database.ts";
import { createHttpServer } from "../http-server.ts";
import { createLog } from "../log.ts";
import { createMailer } from "../mail.ts";
import { createRateLimits } from "../rate-limits.ts";
import { readSettings, type Settings } from "../settings.ts";

export const ORIGIN = "https://front.example";
export const PASSWORD = "correct horse battery";

export function testSettings(change: NodeJS.ProcessEnv = {}): Settings {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "auth-")), "auth.db");
  return readSettings({
    NODE_ENV: "production",
    BETTER_AUTH_SECRET: randomBytes(32).toString("base64"),
    BETTER_AUTH_URL: "https://auth.example",
    CORS_ORIGINS: ORIGIN,
    DATABASE_URL: `sqlite:${file}`,
    ...change,
  });
}

export const silent = createLog(process.env.TEST_LOG ?? "silent");

/** The library with its schema, and its options after `change`, for a second instance of the library. */
export async function openTestLibrary(
  settings = testSettings(),
  change = (_options: BetterAuthOptions): void => {},
  log = silent,
) {
  const { getMigrations } = await import("better-auth/db/migration");
  const database = await openDatabase(settings, silent);
  const limits = createRateLimits(settings.secret, undefined);
  const mailer = settings.mail && createMailer(settings.mail, log);
  const audit = createAudit(settings, mailer, log);
  const options = await authOptions(settings, { database, limits, audit, mailer, log });
  change(options);
  await (await getMigrations(options)).runMigrations();
  return { settings, options, database, library: await createLibrary(options, settings) };
}

let requests = 0;

/** A request as the server passes it to the library, from a new address, so that no limit applies by chance. */
export function libraryRequest(
  path: string,
  init: { method?: string; body?: unknown; headers?: object } = {},
): Request {
  const headers = new Headers({ [CLIENT_ADDRESS_HEADER]: `2001:db8::${(++requests).toString(16)}`, ...init.headers });
  if (init.body !== undefined) headers.set("content-type", "application/json");
  return new Request(`https://auth.example/api/auth${path}`, {
    method: init.method ?? (init.body === undefined ? "GET" : "POST"),
    headers,
    body: init.body === undefined ? null : JSON.stringify(init.body),
  });
}

/** A running server; `close` ends it. */
export async function startServer(settings = testSettings(), log = silent) {
  const service = openAuth(settings, log, (error) => {
    throw error;
  });
  const { server, stop } = createHttpServer(settings, log, service);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await (await service).close();
  };
  return { port, url: `http://127.0.0.1:${port}`, close, stop };
}
