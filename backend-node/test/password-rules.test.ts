import assert from "node:assert/strict";
import test from "node:test";
import { betterAuth } from "better-auth";
import { commonPasswords, SETS_PASSWORD, withoutWords } from "../password-rules.ts";
import { libraryRequest, ORIGIN, openTestLibrary, PASSWORD, testSettings } from "./server.ts";

let people = 0;
const newcomer = (change: object) => ({
  name: "Ada Lovelace",
  email: `a.lovelace${++people}@example.com`,
  password: PASSWORD,
  ...change,
});

type TestLibrary = Awaited<ReturnType<typeof openTestLibrary>>["library"];

/** The code of the refusal, or the status. */
async function answer(library: TestLibrary, path: string, body: object, headers = {}): Promise<string | number> {
  try {
    return (await library.handle(libraryRequest(path, { body, headers }))).status;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

test("must know the 3,000 most common passwords that are long enough", async () => {
  const common = await commonPasswords();
  assert(common.size >= 3_000, `knows ${common.size}`);
  for (const password of ["password", "12345678", "qwertyuiop", "iloveyou", "1q2w3e4r5t"]) assert(common.has(password));
});

for (const password of ["password1", "Password1", "1234567890", "SUNSHINE"])
  test(`must refuse ${password} at sign-up`, async () => {
    const { library } = await openTestLibrary();
    assert.equal(await answer(library, "/sign-up/email", newcomer({ password })), "PASSWORD_TOO_COMMON");
  });

for (const password of ["Lovelace1815", "ada-lovelace!", "example2024", "auth.example", "lovelacelovelace"])
  test(`must refuse ${password} to Ada Lovelace`, async () => {
    const { library } = await openTestLibrary();
    assert.equal(await answer(library, "/sign-up/email", newcomer({ password })), "PASSWORD_TOO_PERSONAL");
  });

for (const password of ["ada rides a purple horse", "q8Zt!mE2w", "correct horse", "            !"])
  test(`must accept "${password}"`, async () => {
    const { library } = await openTestLibrary();
    assert.equal(await answer(library, "/sign-up/email", newcomer({ password })), 200);
  });

test("must remove the longest word first", () => {
  assert.equal(withoutWords("annabel-1", ["Ann Annabel"]), "-1");
  assert.equal(withoutWords("al and bo", ["Al", "Bo"]), "al and bo");
});

test("must check a changed password against the account's own name", async () => {
  const { library } = await openTestLibrary();
  const signedUp = await library.handle(libraryRequest("/sign-up/email", { body: newcomer({}) }));
  const headers = { cookie: signedUp.headers.getSetCookie()[0]?.split(";")[0], origin: ORIGIN };
  const change = (newPassword: string) =>
    answer(library, "/change-password", { currentPassword: PASSWORD, newPassword }, headers);
  assert.equal(await change("lovelace99"), "PASSWORD_TOO_PERSONAL");
  assert.equal(await change("trustno1trustno1"), 200);
  assert.equal(await change("password123"), "PASSWORD_TOO_COMMON");
});

test("must check a password that is reset, and keep the link good", async () => {
  const mails: string[] = [];
  const { library } = await openTestLibrary(testSettings(), ({ emailAndPassword }) => {
    if (emailAndPassword) emailAndPassword.sendResetPassword = async ({ url }) => void mails.push(url);
  });
  const account = newcomer({});
  assert.equal(await answer(library, "/sign-up/email", account), 200);
  await answer(library, "/request-password-reset", { email: account.email, redirectTo: ORIGIN });
  const token = mails[0]?.match(/reset-password\/([^?]+)/)?.[1];
  assert(token);
  const reset = (newPassword: string) => answer(library, "/reset-password", { newPassword, token });
  assert.equal(await reset("lovelace1815"), "PASSWORD_TOO_PERSONAL");
  assert.equal(await reset("another long one"), 200);
});

test("must know every path of the library that sets a password", async () => {
  const { options } = await openTestLibrary();
  const verifies = new Set(["/sign-in/email", "/sign-in/username", "/verify-password", "/delete-user"]);
  const endpoints = Object.values(betterAuth(options).api) as { path?: string; options: { body?: BodySchema } }[];
  const paths = endpoints
    .filter(({ options }) => "password" in shape(options.body) || "newPassword" in shape(options.body))
    .map(({ path = "" }) => path)
    .filter((path) => path !== "" && !path.startsWith("/two-factor/") && !verifies.has(path));
  assert(paths.length >= 4, "too few schemas were read");
  assert.deepEqual(
    paths.filter((path) => !(path in SETS_PASSWORD)),
    [],
  );
});

interface BodySchema {
  shape?: object;
  _zod?: { def: { left?: BodySchema; innerType?: BodySchema; in?: BodySchema } };
}

/** The members of a zod object, wrapped or not. */
function shape(schema: BodySchema | undefined): object {
  if (schema === undefined) return {};
  const { left, innerType, in: input } = schema._zod?.def ?? {};
  return schema.shape ?? shape(left ?? innerType ?? input);
}

test("must refuse a breached password when the check is on, and accept any when the service is away", async (context) => {
  const { library } = await openTestLibrary(testSettings({ PASSWORD_BREACH_CHECK: "on" }));
  const requested: string[] = [];
  let answers = () => new Response("", { status: 200 });
  context.mock.method(globalThis, "fetch", async (url: string | URL | Request) => {
    requested.push(String(url));
    return answers();
  });
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha1").update(PASSWORD).digest("hex").toUpperCase();
  answers = () => new Response(`${hash.slice(5)}:37\r\n`);
  assert.equal(await answer(library, "/sign-up/email", newcomer({})), "PASSWORD_COMPROMISED");
  assert.deepEqual(requested, [`https://api.pwnedpasswords.com/range/${hash.slice(0, 5)}`]);
  answers = () => new Response(`${hash.slice(5)}:0\r\n`);
  assert.equal(await answer(library, "/sign-up/email", newcomer({})), 200, "the service's padding must not count");
  answers = () => new Response("away", { status: 503 });
  assert.equal(await answer(library, "/sign-up/email", newcomer({})), 200);
});
