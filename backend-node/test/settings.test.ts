import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { readSettings, SettingsError } from "../settings.ts";

const folder = mkdtempSync(path.join(tmpdir(), "settings-"));
const SOUND = {
  NODE_ENV: "production",
  BETTER_AUTH_SECRET: "k3Jd8sLw0qPz7Xv2Bn5Mt9Rf4Hg6Yc1A",
  DATABASE_URL: `sqlite:${folder}/auth.db`,
};

/** The names of the refused variables. */
function refused(change: NodeJS.ProcessEnv): string[] {
  try {
    readSettings({ ...SOUND, ...change });
  } catch (error) {
    assert(error instanceof SettingsError);
    for (const value of Object.values(change).filter((value) => value?.trim()))
      assert(!error.message.includes(String(value)), "must not print a value");
    return error.faults.map((line) => line.split(":")[0] ?? "");
  }
  return [];
}

test("must accept a sound environment", () => {
  assert.deepEqual(refused({}), []);
});

test("must name every faulty variable at once", () => {
  assert.deepEqual(
    refused({ BETTER_AUTH_SECRET: undefined, DATABASE_URL: " ", CORS_ORIGINS: "*", TEST: "true-value" }),
    ["TEST", "BETTER_AUTH_SECRET", "CORS_ORIGINS", "DATABASE_URL"],
  );
});

for (const [what, secret] of [
  ["short", "k3Jd8sLw"],
  ["monotonous", "a".repeat(40)],
  ["the library's default", "better-auth-secret-12345678901234567890"],
] as const)
  test(`must refuse a secret that is ${what}`, () => {
    assert.deepEqual(refused({ BETTER_AUTH_SECRET: secret }), ["BETTER_AUTH_SECRET"]);
  });

test("must refuse the sample secret of compose.yaml on the Hub, and only there", () => {
  const sample = { BETTER_AUTH_SECRET: "sample-secret-for-this-machine-only-0123456789" };
  assert.deepEqual(refused(sample), []);
  assert.deepEqual(refused({ ...sample, SYSTEM: "spaces" }), ["BETTER_AUTH_SECRET"]);
});

const STRAY: Record<string, (value: string) => string> = {
  "a trailing line break": (value) => `${value}\n`,
  "a Windows line break": (value) => `${value}\r\n`,
  "blanks around it": (value) => ` ${value}\t`,
  "a byte order mark": (value) => `\ufeff${value}`,
  "a blank that does not break": (value) => `${value}\u00a0`,
};
const VALUES: Record<string, string> = {
  BETTER_AUTH_SECRET: SOUND.BETTER_AUTH_SECRET,
  BETTER_AUTH_URL: "https://auth.example",
  CORS_ORIGINS: "https://front.example",
  DATABASE_URL: SOUND.DATABASE_URL,
  SIGNUP: "closed",
  PORT: "7861",
  METRICS_TOKEN: "a-token-for-metrics",
  LOG_LEVEL: "warn",
};

for (const [what, stray] of Object.entries(STRAY))
  test(`must read a value with ${what} like the value alone`, () => {
    const spoiled = Object.fromEntries(Object.entries(VALUES).map(([name, value]) => [name, stray(value)]));
    assert.deepEqual(readSettings({ ...SOUND, ...spoiled }), readSettings({ ...SOUND, ...VALUES }));
  });

for (const [what, stray] of Object.entries({
  "double quotes": (value: string) => `"${value}"`,
  "single quotes": (value: string) => ` '${value}'\n`,
  "a line break within": (value: string) => `${value.slice(0, 2)}\n${value.slice(2)}`,
  "an invisible character within": (value: string) => `${value.slice(0, 2)}\u200b${value.slice(2)}`,
}))
  test(`must refuse by name a value with ${what}`, () => {
    for (const [name, value] of Object.entries(VALUES)) assert.deepEqual(refused({ [name]: stray(value) }), [name]);
  });

test("must refuse values that the library does not trim: a blank around NODE_ENV, a blank as TEST", () => {
  assert.deepEqual(refused({ NODE_ENV: "production\n" }), ["NODE_ENV"]);
  assert.deepEqual(refused({ TEST: " " }), ["TEST"]);
  assert.deepEqual(refused({ TEST: "" }), []);
});

for (const [url, reason] of [
  ["https://auth.example/", /slash at its end/],
  ["https://auth.example/path", /more than host and port/],
  ["https://auth.example?x", /more than host and port/],
  ["http://auth.example", /plain http/],
  ["http://auth.example/", /slash at its end/],
  ["auth.example", /is not an origin/],
  ["https://Auth.example", /lower case/],
  ["https://auth.example:443", /usual port/],
  ["https://*.example", /wildcard/],
] as const)
  test(`must explain the fault of ${url} as the public origin`, () => {
    assert.deepEqual(refused({ BETTER_AUTH_URL: url }), ["BETTER_AUTH_URL"]);
    assert.throws(() => readSettings({ ...SOUND, BETTER_AUTH_URL: url }), reason);
  });

for (const origin of [
  "*",
  "a.example",
  "https://a.example/",
  "https://a.example/path",
  "https://*.vercel.app",
  "https://A.example",
  "http://a.example",
  "https://a.example:443",
  "null",
  "ftp://localhost",
])
  test(`must refuse ${origin} as an origin`, () => {
    assert.deepEqual(refused({ CORS_ORIGINS: `https://front.example,${origin}` }), ["CORS_ORIGINS"]);
    assert.throws(() => readSettings({ ...SOUND, CORS_ORIGINS: `https://front.example,${origin}` }), /entry 2 /);
  });

test("must accept exact origins, with blanks around commas", () => {
  const { corsOrigins } = readSettings({ ...SOUND, CORS_ORIGINS: "https://a.example , http://localhost:3000" });
  assert.deepEqual(corsOrigins, ["https://a.example", "http://localhost:3000"]);
});

test("must use the Hub's public origin when none is set", () => {
  assert.equal(readSettings({ ...SOUND, SPACE_HOST: "acme-auth.hf.space" }).baseURL, "https://acme-auth.hf.space");
  assert.deepEqual(refused({ BETTER_AUTH_URL: "http://acme.example" }), ["BETTER_AUTH_URL"]);
});

for (const url of ["sqlite:auth.db", "sqlite:/proc/none/auth.db", "mysql://a/b", "postgres://host", "nonsense"])
  test(`must refuse ${url} as a database`, () => {
    assert.deepEqual(refused({ DATABASE_URL: url }), ["DATABASE_URL"]);
  });

test("must refuse to run without NODE_ENV=production unless started to develop", () => {
  assert.deepEqual(refused({ NODE_ENV: undefined }), ["NODE_ENV"]);
  assert.equal(readSettings({ ...SOUND, NODE_ENV: undefined }, ["--dev"]).host, "127.0.0.1");
});

const MAIL = { MAIL_URL: "https://mail.example/emails", MAIL_KEY: "mail-key-0123", MAIL_FROM: "a@mail.example" };

test("must name the plugin that is unknown or needs mail", () => {
  assert.deepEqual(refused({ PLUGINS: "organization,teleport" }), ["PLUGINS"]);
  assert.deepEqual(refused({ PLUGINS: "organization,magic-link" }), ["PLUGINS"]);
  assert.deepEqual(refused({ PLUGINS: "magic-link, organization", ...MAIL }), []);
});

test("must refuse administrators by address when no address can be verified", () => {
  assert.deepEqual(refused({ ADMIN_EMAILS: "ada@example.com" }), ["ADMIN_EMAILS"]);
  assert.deepEqual(refused({ ADMIN_EMAILS: "ada@example.com, ada", ...MAIL }), ["ADMIN_EMAILS"]);
  assert.deepEqual(readSettings({ ...SOUND, ...MAIL, ADMIN_EMAILS: "Ada@Example.com" }).adminEmails, [
    "ada@example.com",
  ]);
  const social = { OAUTH_CLIENT_ID: "a-client-id", OAUTH_CLIENT_SECRET: "a-client-secret" };
  assert.deepEqual(refused({ ADMIN_EMAILS: "ada@example.com", ...social }), []);
});

for (const name of ["SESSION_IDLE_HOURS", "SESSION_MAX_HOURS", "SESSION_FRESH_MINUTES"])
  test(`must accept only a whole number above 0 as ${name}`, () => {
    for (const value of ["0", "-3", "1.5", "a week", "1e3"]) assert.deepEqual(refused({ [name]: value }), [name]);
    assert.deepEqual(refused({ [name]: "12" }), []);
  });
