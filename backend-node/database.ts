/** The database behind the accounts: embedded SQLite. */
import { statfsSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { BetterAuthOptions } from "better-auth";
import type { Settings } from "./settings.ts";

export interface Database {
  kind: "sqlite" | "postgres";
  /** What Better Auth takes as `database`. */
  connection: NonNullable<BetterAuthOptions["database"]>;
  /** False when a restart of the container loses the data. */
  durable: boolean;
  /** Resolves when the database answers, rejects when it does not. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export function openDatabase(database: Settings["database"]): Database {
  if (database.kind !== "sqlite") throw new Error("not yet");
  return openSqlite(database.file);
}

function openSqlite(file: string): Database {
  const db = new DatabaseSync(file);
  // WAL with synchronous=NORMAL survives a killed process without loss. Source: sqlite.org/wal.html.
  db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000; PRAGMA foreign_keys=ON");
  const probe = db.prepare("SELECT 1");
  return {
    kind: "sqlite",
    connection: db,
    durable: !isEphemeral(path.dirname(file)),
    ping: async () => void probe.get(),
    close: async () => {
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      db.close();
    },
  };
}

/** A container's own layer (overlayfs) and tmpfs end with it. Source: statfs(2). */
function isEphemeral(folder: string): boolean {
  const OVERLAYFS = 0x794c7630;
  const TMPFS = 0x01021994;
  const { type } = statfsSync(folder);
  return type === OVERLAYFS || type === TMPFS;
}
