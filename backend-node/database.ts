/** The database behind the accounts: embedded SQLite, Postgres over TCP, or Postgres over a WebSocket. */
import { setTimeout as delay } from "node:timers/promises";
import type { BetterAuthOptions } from "better-auth";
import type { Pool, PoolConfig } from "pg";
import type { Logger } from "pino";
import { within } from "./deadline.ts";
import type { Settings } from "./settings.ts";
import type { WebSocketRelay } from "./settings-forms.ts";
import { openSqlite } from "./sqlite.ts";

export interface Database {
  kind: "sqlite" | "postgres";
  /** The value of Better Auth's option `database`. */
  connection: NonNullable<BetterAuthOptions["database"]>;
  /** The connections to Postgres; undefined for SQLite. */
  pool: Pool | undefined;
  /** False when a restart of the container loses the data. */
  durable: boolean;
  /** Whether the disk is full: the last write failed, and another would. Postgres reports this itself. */
  full(): boolean;
  /** Resolves when the database answers, rejects when it does not within a second. */
  ping(): Promise<void>;
  /** Runs `migrate` while no other replica does. */
  exclusively(migrate: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Opens the database without waiting for its server. `ping` checks the connection. */
export async function openDatabase(settings: Pick<Settings, "database" | "onTheHub">, log: Logger): Promise<Database> {
  const { database } = settings;
  if (database.kind === "sqlite") return openSqlite(database.file);
  const port = new URL(database.url).port || "5432";
  // The documentation opens the first three (hub-docs spaces-overview.md, "Networking"); Spaces were observed to use the last.
  if (settings.onTheHub && !database.webSocket && !["80", "443", "8080", "5432"].includes(port))
    log.warn(
      { port },
      "the Hub may block this port; if the database does not connect, use port 5432, or a WebSocket relay (DATABASE_WEBSOCKET)",
    );
  return openPostgres(database.url, database.webSocket, log);
}

/** Any number that no other program uses for a lock in this database. */
const MIGRATION_LOCK = 7_860_001;

async function openPostgres(url: string, webSocket: WebSocketRelay | undefined, log: Logger): Promise<Database> {
  const { hostname, searchParams } = new URL(url);
  const config: PoolConfig = {
    connectionString: url,
    application_name: "backend-node",
    max: 10,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 30_000,
    // The server's own limit, and ours for a server that has gone silent. Not `statement_timeout` here, which would be
    // among the settings that a connection starts with: a pooler refuses those that it does not know.
    onConnect: async (client) => void (await client.query("SET statement_timeout = 5000")),
    query_timeout: 6_000,
    keepAlive: true,
  };
  // A name without dots is a Compose service; everything else crosses a network. `sslmode` in the URL decides otherwise.
  if (!webSocket && hostname.includes(".") && hostname !== "127.0.0.1" && !searchParams.has("sslmode"))
    config.ssl = true;
  const pool = webSocket ? await webSocketPool(config, webSocket.relay) : new (await import("pg")).default.Pool(config);
  // Without these, a connection that Postgres ends takes the process down. Source: node-postgres issue 2762.
  pool.on("error", (error) => log.warn({ reason: error.message }, "a database connection ended"));
  pool.on("connect", (client) => client.on("error", () => {}));
  return {
    kind: "postgres",
    connection: pool,
    pool,
    durable: true,
    full: () => false,
    ping: async () => void (await within(1_000, pool.query("SELECT 1"))),
    exclusively: async (migrate) => {
      const client = await pool.connect();
      try {
        // A transaction's lock: behind a pooler, the next statement outside it may reach another session.
        await client.query("BEGIN");
        // Tried, not awaited in the server, where statement_timeout would end the wait.
        for (;;) {
          const { rows } = await client.query("SELECT pg_try_advisory_xact_lock($1) AS locked", [MIGRATION_LOCK]);
          if (rows[0]?.locked) break;
          await delay(100);
        }
        await migrate();
      } finally {
        // Ends the connection, and with it the transaction and the lock.
        client.release(true);
      }
    },
    close: () => pool.end(),
  };
}

/** The same pool on a WebSocket, which a Space may open on port 443. */
async function webSocketPool(config: PoolConfig, relay: URL | undefined): Promise<Pool> {
  const neon = await import("@neondatabase/serverless");
  if (relay) {
    neon.neonConfig.wsProxy = (host, port) => `${relay.host}${relay.pathname}?address=${host}:${port}`;
    neon.neonConfig.useSecureWebSocket = relay.protocol === "wss:";
    // Neon expects the password at once; other servers request SCRAM first.
    neon.neonConfig.pipelineConnect = false;
  }
  return new neon.Pool(config) as unknown as Pool;
}
