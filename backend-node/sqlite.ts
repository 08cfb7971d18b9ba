/** The embedded database: one connection, one file. */
import { statfsSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";

export function openSqlite(file: string) {
  const db = new PreparedDatabase(file);
  // WAL with synchronous=NORMAL survives a killed process without loss. Source: sqlite.org/wal.html.
  db.exec("PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON");
  const probe = db.prepare("SELECT 1");
  return {
    kind: "sqlite" as const,
    connection: db,
    pool: undefined,
    durable: !isEphemeral(path.dirname(file)),
    full: () => db.isFull(),
    ping: async () => void probe.get(),
    exclusively: (migrate: () => Promise<void>) => migrate(),
    close: async () => {
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      db.close();
    },
  };
}

/** SQLITE_FULL. Source: sqlite.org/rescode.html. */
const FULL = 13;

/** Prepares each statement once. The library prepares it for every query, a third of the time of a session lookup. */
class PreparedDatabase extends DatabaseSync {
  // The library's statements have parameters, so there are few. The limit covers statements without.
  readonly #statements = new Map<string, StatementSync>();
  #wasFull = false;

  override prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      if (this.#statements.size >= 500) this.#statements.clear();
      statement = this.#watched(super.prepare(sql));
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** Tries a write that changes nothing, if the last one failed. */
  isFull(): boolean {
    if (!this.#wasFull) return false;
    try {
      this.exec("PRAGMA user_version = 0");
      this.#wasFull = false;
    } catch {
      // The disk is still full.
    }
    return this.#wasFull;
  }

  /** SQLite ends the transaction itself when the disk is full, and the library then reports its failed roll-back alone. */
  #watched(statement: StatementSync): StatementSync {
    for (const method of ["run", "all"] as const) {
      const original: (...parameters: never[]) => unknown = statement[method].bind(statement);
      Object.defineProperty(statement, method, {
        value: (...parameters: never[]) => {
          try {
            return original(...parameters);
          } catch (error) {
            if ((error as { errcode?: number }).errcode === FULL) this.#wasFull = true;
            throw error;
          }
        },
      });
    }
    return statement;
  }
}

/** A container's own layer (overlayfs) and tmpfs end with it. Source: statfs(2). */
function isEphemeral(folder: string): boolean {
  const OVERLAYFS = 0x794c7630;
  const TMPFS = 0x01021994;
  const { type } = statfsSync(folder);
  return type === OVERLAYFS || type === TMPFS;
}
