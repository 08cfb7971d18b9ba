/**
 * A Better Auth server for a Hugging Face Docker Space.
 *
 * Start: check the environment, listen, then load the library, open the database and bring its schema up to
 * date. `/health` answers from the first moment; `/ready` and `/api/auth/*` as soon as the database does.
 * Stop: on SIGTERM requests in flight finish, connections and the database close, and waiting mails leave.
 */
import type { AddressInfo } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createHttpServer } from "./http-server.ts";
import { createLog } from "./log.ts";
import { readSettings, type Settings, SettingsError } from "./settings.ts";

/** EX_CONFIG of sysexits(3): restarting will not help. */
const EXIT_CONFIGURATION = 78;
/** Docker and the Hub send SIGKILL after 10 s. */
const STOP_DEADLINE_MS = 9_000;

const settings = settingsOrExit();
const log = createLog(settings.logLevel);

process.on("uncaughtException", (error) => {
  log.fatal({ err: error }, "uncaught exception");
  process.exit(1);
});
process.on("unhandledRejection", (reason) => log.error({ err: reason }, "unhandled rejection"));

const listening = Promise.withResolvers<void>();
const service = listening.promise.then(load).then((auth) => auth.openAuth(settings, log, cannotStart));
service.catch(cannotStart);

const { server, stop: drain } = createHttpServer(settings, log, service);
server.on("error", (error: NodeJS.ErrnoException) => {
  process.stderr.write(`PORT: cannot listen on port ${settings.port} (${error.code})\n`);
  process.exit(EXIT_CONFIGURATION);
});
server.listen(settings.port, settings.host, () => {
  log.info(
    { port: (server.address() as AddressInfo).port, url: settings.baseURL, corsOrigins: settings.corsOrigins },
    "listening",
  );
  listening.resolve();
});

for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stop(signal));

/** Imports the library in parts: evaluation blocks the event loop, and a liveness probe must not wait for the whole. */
async function load(): Promise<typeof import("./auth.ts")> {
  for (const piece of [() => import("better-auth"), () => import("@better-auth/passkey")]) {
    await nextTurn();
    await piece();
  }
  await nextTurn();
  return import("./auth.ts");
}

async function stop(signal: string): Promise<void> {
  log.info({ signal }, "stopping");
  setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
  await drain();
  await (await service).close();
  log.info("stopped");
  process.exit(0);
}

function cannotStart(error: Error): void {
  log.fatal({ reason: error.message }, "cannot start");
  process.exit(EXIT_CONFIGURATION);
}

function settingsOrExit(): Settings {
  try {
    return readSettings(process.env, process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EXIT_CONFIGURATION);
  }
}
