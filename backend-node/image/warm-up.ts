/**
 * Fills the compile cache of the server in FOLDER: starts it, signs up, reads the session and signs out. The first start
 * of a container then compiles nothing. Run it as the image's user: the cache is per user id.
 * Usage: node warm-up.ts FOLDER
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: node warm-up.ts FOLDER");

const base = "http://127.0.0.1:7860";
const server = spawn(process.execPath, ["auth-server.ts"], {
  cwd: folder,
  stdio: "inherit",
  env: {
    ...process.env,
    NODE_ENV: "production",
    NODE_COMPILE_CACHE: `${folder}/.compile-cache`,
    BETTER_AUTH_SECRET: randomBytes(32).toString("base64"),
    DATABASE_URL: "sqlite:/tmp/warm-up/auth.db",
  },
});
const ended = once(server, "exit");

for (const deadline = Date.now() + 20_000; !(await answers("/ready")); await delay(50))
  if (server.exitCode !== null || Date.now() > deadline) throw new Error("the server did not become ready");
const account = { name: "Warm-up", email: "warm-up@example.com", password: randomBytes(12).toString("hex") };
const cookie = (await call("POST", "sign-up/email", account)).headers.getSetCookie().join("; ");
await call("POST", "sign-in/email", account);
await call("GET", "get-session", undefined, cookie);
await call("POST", "sign-out", undefined, cookie);
await answers("/");
server.kill("SIGTERM");
const [code] = await ended;
if (code !== 0) throw new Error(`the server ended with code ${code}`);

function answers(path: string): Promise<boolean> {
  return fetch(base + path, { headers: { accept: "text/html" } }).then(
    (answer) => answer.ok,
    () => false,
  );
}

async function call(method: string, path: string, body?: object, cookie?: string): Promise<Response> {
  const headers: Record<string, string> = { origin: "http://localhost:7860" };
  if (body) headers["content-type"] = "application/json";
  if (cookie) headers.cookie = cookie.replace(/; .*/, "");
  const answer = await fetch(`${base}/api/auth/${path}`, { method, headers, body: body ? JSON.stringify(body) : null });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}
