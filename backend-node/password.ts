/**
 * Password hashes: argon2id in Node's own thread pool, a few at a time.
 *
 * m=19456 KiB, t=2, p=1. Source: OWASP Password Storage Cheat Sheet. Two at a time leave the other two pool threads to
 * the rest of the server, and one at a time where the container's memory has no room for two. A queue with an end turns
 * a flood of sign-ins into 503s instead of time-outs.
 */
import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { verifyPassword as verifyScrypt } from "better-auth/crypto";
import { HttpError } from "./http-error.ts";

const MEMORY_KIB = 19_456;
const PASSES = 2;
/** The server without a hash, with what its heap grows by under load. */
const WITHOUT_HASHES = 120 * 1024 * 1024;
const RUNNING = hashesAtOnce(process.constrainedMemory());
const WAITING = 32;

const PREFIX = `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=1$`;
const derive = promisify(argon2);

/** A PHC string. @throws HttpError 503 when too many are waiting. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  return `${PREFIX}${base64(salt)}$${base64(await gated(() => argon2id(password, salt)))}`;
}

/** Whether `password` made `hash`, which may also be of Better Auth's default, scrypt. @throws HttpError 503 as above. */
export async function verifyPassword({ hash, password }: { hash: string; password: string }): Promise<boolean> {
  if (isOutdated(hash)) return gated(() => verifyScrypt({ hash, password }));
  const [salt = "", key = ""] = hash.slice(PREFIX.length).split("$");
  const expected = Buffer.from(key, "base64");
  const actual = await gated(() => argon2id(password, Buffer.from(salt, "base64")));
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** Whether a hash should be replaced at the next sign-in. */
export function isOutdated(hash: string): boolean {
  return !hash.startsWith(PREFIX);
}

/** @param limit the container's memory in bytes; 0 or more than there is where it has none. */
export function hashesAtOnce(limit: number): 1 | 2 {
  const room = limit === 0 ? Number.POSITIVE_INFINITY : limit - WITHOUT_HASHES;
  return room >= 2 * MEMORY_KIB * 1024 ? 2 : 1;
}

function argon2id(password: string, nonce: Buffer): Promise<Buffer> {
  // The same characters typed on another keyboard may arrive composed otherwise; the library's scrypt does this too.
  const message = password.normalize("NFKC");
  return derive("argon2id", { message, nonce, parallelism: 1, tagLength: 32, memory: MEMORY_KIB, passes: PASSES });
}

/** PHC's base64 has no padding. */
function base64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

let running = 0;
const waiting: (() => void)[] = [];

async function gated<T>(work: () => Promise<T>): Promise<T> {
  if (running < RUNNING) running++;
  else {
    if (waiting.length >= WAITING)
      throw new HttpError(503, "BUSY", "too many sign-ins at once; try again", { "retry-after": "1" });
    // The place is handed over, so `running` stays as it is.
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}
