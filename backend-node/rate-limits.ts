/**
 * How often one network, and one account, may try.
 *
 * In memory, or in Postgres where several replicas may share the database. The library's own limiter counts per
 * address and path only, and a steady trickle of requests exhausts it. Source: better-auth issue 977.
 */
import { createHmac } from "node:crypto";
import type { Pool } from "pg";
import limiters, { type RateLimiterAbstract, type RateLimiterRes } from "rate-limiter-flexible";
import { HttpError } from "./http-error.ts";

export interface RateLimits {
  /** Takes one try of each. @throws HttpError 429 with Retry-After when one of them has none left. */
  take(limit: LimitName, ...subjects: string[]): Promise<void>;
  /** Refunds the try, so that an honest user never runs out. */
  giveBack(limit: LimitName, ...subjects: string[]): Promise<void>;
  /**
   * Takes one guess at the secrets of `subject`. After `GUESSES.free` wrong ones each waits longer than the last.
   *
   * @throws HttpError 429 with Retry-After while the wait lasts; such a try is not counted.
   */
  takeGuess(subject: string): Promise<void>;
  /** Refunds the guess: it was right, or was never verified. */
  giveBackGuess(subject: string): Promise<void>;
}

export type LimitName = keyof typeof LIMITS;

/** points tries in duration seconds. */
const LIMITS = {
  requestsPerAddress: { points: 120, duration: 10 },
  passwordsPerAddress: { points: 10, duration: 60 },
  signUpsPerAddress: { points: 10, duration: 60 },
  mails: { points: 3, duration: 60 },
  /** Each is a mail to a stranger; a team is invited within a minute. */
  invitationsPerAddress: { points: 20, duration: 60 },
} as const;

/**
 * Wrong guesses without a wait, and the waits in seconds after each further one: the first, then twice the last, up to
 * the longest. The count ends after `window`. Waits grow, because a limit that locks an account would let strangers
 * lock it. Strangers keep some forty guesses an hour.
 */
export const GUESSES = { free: 20, firstWait: 5, longestWait: 300, window: 3600 } as const;

/** Where Postgres counts. */
export const RATE_LIMIT_TABLE = `CREATE TABLE IF NOT EXISTS rate_limiter
  (key varchar(255) PRIMARY KEY, points integer NOT NULL DEFAULT 0, expire bigint)`;

/** Largest number of separate subjects, so that a flood of addresses cannot fill the memory. */
const BUCKETS = 32_768;

export function createRateLimits(key: string, pool: Pool | undefined): RateLimits {
  const counters = {
    ...LIMITS,
    guesses: { points: Number.MAX_SAFE_INTEGER, duration: GUESSES.window },
    guessWaits: { points: 1, duration: 1 },
  };
  const entries = Object.entries(counters).map(([name, limit]) => {
    const inMemory = new limiters.RateLimiterMemory({ ...limit, keyPrefix: name });
    // Every request counts, so a query would cost too much.
    if (!pool || name === "requestsPerAddress") return [name, inMemory];
    const inPostgres = new limiters.RateLimiterPostgres({
      ...limit,
      keyPrefix: name,
      storeClient: pool,
      storeType: "pool",
      tableName: "rate_limiter",
      tableCreated: true,
      clearExpiredByTimeout: true,
      // Counts in memory during a database outage.
      insuranceLimiter: inMemory,
    });
    return [name, inPostgres];
  });
  const byName = Object.fromEntries(entries) as Record<keyof typeof counters, RateLimiterAbstract>;
  // Keyed, so that no caller can choose an address that shares another's bucket.
  const bucket = (subject: string) =>
    String(createHmac("sha256", key).update(subject.toLowerCase()).digest().readUInt32BE() % BUCKETS);

  return {
    take: async (limit, ...subjects) => {
      for (const subject of subjects) await byName[limit].consume(bucket(subject)).catch(refuse);
    },
    giveBack: async (limit, ...subjects) => {
      for (const subject of subjects) await byName[limit].reward(bucket(subject));
    },
    takeGuess: async (subject) => {
      const key = bucket(subject);
      const { consumedPoints } = await byName.guesses.consume(key);
      if (consumedPoints < GUESSES.free) return;
      const wait = Math.min(GUESSES.firstWait * 2 ** (consumedPoints - GUESSES.free), GUESSES.longestWait);
      await byName.guessWaits
        .consume(key, 1, { customDuration: wait })
        .catch(async (refusal: RateLimiterRes | Error) => {
          await byName.guesses.reward(key);
          refuse(refusal);
        });
    },
    giveBackGuess: async (subject) => {
      const key = bucket(subject);
      await byName.guesses.reward(key);
      await byName.guessWaits.delete(key);
    },
  };
}

function refuse(refusal: RateLimiterRes | Error): never {
  if (refusal instanceof Error) throw refusal;
  throw new HttpError(429, "TOO_MANY_REQUESTS", "too many tries; wait for the seconds in Retry-After", {
    "retry-after": String(Math.max(1, Math.ceil(refusal.msBeforeNext / 1000))),
  });
}
