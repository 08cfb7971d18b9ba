import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { createAuthClient } from "better-auth/client";
import { usernameClient } from "better-auth/client/plugins";
import { ORIGIN, PASSWORD, startServer, testSettings } from "./server.ts";

/** The files that a server has loaded by readiness. */
async function loadedBy(change: NodeJS.ProcessEnv): Promise<string[]> {
  const hook = `import { registerHooks } from "node:module"; import { writeSync } from "node:fs";
    registerHooks({ load: (url, context, next) => { writeSync(2, url + "\\n"); return next(url, context); } });`;
  const folder = mkdtempSync(path.join(tmpdir(), "plugins-"));
  const args = ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, "auth-server.ts", "--dev"];
  const server = spawn(process.execPath, args, {
    env: {
      ...process.env,
      PORT: "0",
      BETTER_AUTH_SECRET: "k3Jd8sLw0qPz7Xv2Bn5Mt9Rf4Hg6Yc1A",
      DATABASE_URL: `sqlite:${folder}/auth.db`,
      ...change,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let loaded = "";
  server.stderr.on("data", (chunk) => {
    loaded += chunk;
  });
  for await (const chunk of server.stdout) if (String(chunk).includes('"ready"')) break;
  server.kill();
  await once(server, "close");
  return loaded.split("\n");
}

const OPTIONAL =
  /plugins\/(email-otp|magic-link|organization|device-authorization|last-login-method|multi-session|captcha|haveibeenpwned)\/|\/api-key\/|\/language-common\//;

test("must load no plugin that is off", async () => {
  const loaded = await loadedBy({});
  assert(
    loaded.some((url) => url.includes("plugins/two-factor/")),
    "the list shows what is loaded",
  );
  // The document of all routes is on in development, and comes with all plugins.
  const document = loaded.findIndex((url) => url.endsWith("better-auth/dist/plugins/index.mjs"));
  assert.deepEqual(
    loaded.slice(0, document < 0 ? undefined : document).filter((url) => OPTIONAL.test(url)),
    [],
  );
});

test("must load a plugin that is on", async () => {
  const loaded = await loadedBy({ PLUGINS: "organization" });
  assert(loaded.some((url) => url.includes("plugins/organization/")));
});

test("must require a captcha for sign-up, sign-in and mail when it is on", async (context) => {
  const server = await startServer(testSettings({ TURNSTILE_SECRET_KEY: "turnstile-secret" }));
  context.after(server.close);
  const verified: Record<string, string>[] = [];
  const real = globalThis.fetch;
  context.mock.method(globalThis, "fetch", async (input: RequestInfo | URL, init?: RequestInit) => {
    if (!String(input).startsWith("https://challenges.cloudflare.com/")) return real(input, init);
    const body = JSON.parse(String(init?.body));
    verified.push(body);
    return Response.json({ success: body.response === "solved" });
  });
  const client = createAuthClient({
    baseURL: server.url,
    plugins: [usernameClient()],
    fetchOptions: { headers: { origin: ORIGIN, "x-forwarded-for": "198.51.100.7" } },
  });
  const account = { name: "Ada", email: "ada@example.com", password: PASSWORD, username: "ada_king" };
  const solved = { headers: { "x-captcha-response": "solved" } };
  const wrong = { headers: { "x-captcha-response": "wrong" } };
  const code = (answer: { error: { code?: string | undefined } | null }) => answer.error?.code;

  assert.equal(code(await client.signUp.email(account)), "MISSING_RESPONSE");
  assert.equal(code(await client.signUp.email({ ...account, fetchOptions: wrong })), "VERIFICATION_FAILED");
  assert.equal(code(await client.signUp.email({ ...account, fetchOptions: solved })), undefined);
  assert.equal(code(await client.signIn.email(account)), "MISSING_RESPONSE");
  assert.equal(code(await client.signIn.username({ username: "ada_king", password: PASSWORD })), "MISSING_RESPONSE");
  assert.equal(
    code(await client.signIn.username({ username: "ada_king", password: PASSWORD, fetchOptions: solved })),
    undefined,
  );
  assert.equal(code(await client.requestPasswordReset({ email: account.email })), "MISSING_RESPONSE");
  assert.deepEqual(verified[0], { secret: "turnstile-secret", response: "wrong", remoteip: "198.51.100.7" });
  const preflight = await real(`${server.url}/api/auth/sign-in/email`, {
    method: "OPTIONS",
    headers: { origin: ORIGIN, "access-control-request-method": "POST" },
  });
  assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /x-captcha-response/);
});
