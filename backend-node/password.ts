/**
 * Password hashes: argon2id in Node's own thread pool, a few at a time.
 *
 * m=19456 KiB, t=2, p=1. Source: OWASP Password Storage Cheat Sheet. Two at a time leave the other two pool threads to
 * the rest of the server. A container with too little memory for two hashes one at a time. The queue is bounded, so that a
 * flood of sign-ins gets 503 instead of time-outs.
 */
import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { verifyPassword as verifyScrypt } from "better-auth/crypto";
import { HttpError } from "./http-error.ts";

const MEMORY_KIB = 19_456;
const PASSES = 2;
/** Memory of the server without a hash, including the growth of its heap under load. */
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

/** Whether `hash` is of `password`. It may be a hash of Better Auth's default, scrypt. @throws HttpError 503 as above. */
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

/** @param limit the container's memory in bytes; without a limit 0, or more than the machine has. */
export function hashesAtOnce(limit: number): 1 | 2 {
  const room = limit === 0 ? Number.POSITIVE_INFINITY : limit - WITHOUT_HASHES;
  return room >= 2 * MEMORY_KIB * 1024 ? 2 : 1;
}

function argon2id(password: string, nonce: Buffer): Promise<Buffer> {
  // Keyboards compose the same characters in different ways. The library's scrypt normalises them too.
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
      throw new HttpError(503, "BUSY", "the server has too many sign-ins at once; try again in a second", {
        "retry-after": "1",
      });
    // The next hash takes over the place, so `running` does not change.
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
