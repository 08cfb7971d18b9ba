import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { CLIENT_ADDRESS_HEADER } from "../client-address.ts";
import type { HttpError } from "../http-error.ts";
import { hashPassword } from "../password.ts";
import { GUESSES } from "../rate-limits.ts";
import { libraryRequest, ORIGIN, openTestLibrary, PASSWORD, testSettings } from "./server.ts";

const ADA = { name: "Ada", email: "ada@example.com", username: "ada_l", password: PASSWORD };

/** Ada's cookies, and a function for the status of a call, from a new address unless `address` is given. */
async function withAda(change: NodeJS.ProcessEnv = {}) {
  const { library } = await openTestLibrary(testSettings(change));
  const call = async (path: string, body: object, headers: object = {}) =>
    library.handle(libraryRequest(path, { body, headers: { origin: ORIGIN, ...headers } }));
  const statusOf = async (path: string, body: object, headers: object = {}): Promise<number> =>
    call(path, body, headers).then(
      ({ status }) => status,
      ({ status }: HttpError) => status,
    );
  const signedUp = await call("/sign-up/email", ADA);
  assert.equal(signedUp.status, 200);
  const cookies = Object.fromEntries(
    signedUp.headers.getSetCookie().map((line) => [/\.(\w+)=/.exec(line)?.[1], line.split(";")[0]]),
  );
  const bearer = `Bearer ${signedUp.headers.get("set-auth-token")}`;
  return {
    library,
    call,
    statusOf,
    device: { cookie: cookies.device },
    session: { cookie: cookies.session_token },
    bearer,
  };
}

const WRONG = { ...ADA, password: "wrong password" };

/** The statuses of `number` wrong passwords from strangers. */
async function guess(ada: Awaited<ReturnType<typeof withAda>>, number: number): Promise<number[]> {
  const seen: number[] = [];
  for (let guess = 0; guess < number; guess++) seen.push(await ada.statusOf("/sign-in/email", WRONG));
  return seen;
}

const BESIDE: Record<string, (guess: number) => unknown> = {
  "other addresses": (guess) => `${guess}@example.com`,
  "a number": () => 1,
  "a list": () => [],
  "an object": () => ({}),
};

for (const [what, email] of Object.entries(BESIDE))
  test(`must count a guess by user name for its account, whatever \`email\` comes beside it: ${what}`, async () => {
    const ada = await withAda();
    const signIn = (guess: number, password: string) =>
      ada.statusOf("/sign-in/username", { username: ADA.username.toUpperCase(), password, email: email(guess) });
    const seen: number[] = [];
    for (let guess = 0; guess < GUESSES.free + 10; guess++) seen.push(await signIn(guess, "wrong password"));
    assert(!seen.slice(0, GUESSES.free).includes(429), `${seen}`);
    assert.deepEqual(seen.slice(GUESSES.free), Array(10).fill(429));
    assert.equal(await signIn(99, PASSWORD), 429, "the right password must wait too");
  });

test("must count guesses by mail address and by user name together", async () => {
  const ada = await withAda();
  await guess(ada, GUESSES.free + 3);
  assert.equal(await ada.statusOf("/sign-in/username", { username: ADA.username, password: "wrong password" }), 429);
});

const PASSWORD_PATHS: [string, object][] = [
  ["/verify-password", { password: "wrong password" }],
  ["/change-password", { currentPassword: "wrong password", newPassword: "another long one" }],
  ["/delete-user", { password: "wrong password" }],
  ["/two-factor/enable", { password: "wrong password" }],
  ["/two-factor/disable", { password: "wrong password" }],
  ["/two-factor/get-totp-uri", { password: "wrong password" }],
  ["/two-factor/generate-backup-codes", { password: "wrong password" }],
  ["/two-factor/verify-totp", { code: "000000" }],
];

for (const kind of ["session", "bearer"] as const)
  test(`must count guesses of a signed-in user, by ${kind}, for the account of the session`, async () => {
    const ada = await withAda();
    const headers = kind === "session" ? ada.session : { authorization: ada.bearer };
    const bodies = PASSWORD_PATHS.map(([path, body], at) => [path, { ...body, email: `${at}@example.com` }] as const);
    for (let guess = 0; guess < GUESSES.free; guess++) {
      const [path, body] = bodies[guess % bodies.length] ?? bodies[0] ?? ["", {}];
      const status = await ada.statusOf(path, body, headers);
      assert(status >= 400 && status !== 429, `${path}: ${status}`);
    }
    for (const [path, body] of bodies) assert.equal(await ada.statusOf(path, body, headers), 429, path);
    assert.equal(await ada.statusOf("/sign-in/email", ADA), 200, "a sign-in must count separately");
  });

test("must make each further guess wait twice as long", async (context: TestContext) => {
  const ada = await withAda();
  context.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.now() });
  await guess(ada, GUESSES.free - 1);
  const waits: number[] = [];
  for (let guess = 0; guess < 8; guess++) {
    assert.equal(await ada.statusOf("/sign-in/email", WRONG), 401, `guess ${guess} after its wait`);
    await assert.rejects(ada.call("/sign-in/email", WRONG), ({ status, headers }: HttpError) => {
      waits.push(Number(headers["retry-after"]));
      return status === 429;
    });
    context.mock.timers.tick((waits.at(-1) ?? 0) * 1000);
  }
  assert.deepEqual(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
});

test("must let the owner in from a device that was signed in before, whatever strangers have tried", async () => {
  const ada = await withAda();
  await guess(ada, GUESSES.free + 5);
  assert.equal(await ada.statusOf("/sign-in/email", ADA), 429, "a stranger with the right password must wait");
  assert.equal(await ada.statusOf("/sign-in/email", ADA, ada.device), 200);
  const forged = { cookie: ada.device.cookie?.replace(/.{4}$/, "AAAA") };
  assert.equal(await ada.statusOf("/sign-in/email", ADA, forged), 429);
});

test("must not mark a device as known before its second factor", async () => {
  const ada = await withAda();
  const prepared = await ada.call("/two-factor/enable", { password: PASSWORD }, ada.session);
  const { totpURI } = (await prepared.json()) as { totpURI: string };
  const secret = new URL(totpURI).searchParams.get("secret") ?? "";
  const { createOTP } = await import("@better-auth/utils/otp");
  const { base32 } = await import("@better-auth/utils/base32");
  const code = await createOTP(new TextDecoder().decode(base32.decode(secret))).totp();
  assert.equal(await ada.statusOf("/two-factor/verify-totp", { code }, ada.session), 200);
  const half = await ada.call("/sign-in/email", ADA);
  assert.equal(((await half.json()) as { twoFactorRedirect: boolean }).twoFactorRedirect, true);
  assert.doesNotMatch(half.headers.getSetCookie().join(), /\.device=/);
});

test("must not accept the device cookie of another account", async () => {
  const ada = await withAda();
  const eve = { name: "Eve", email: "eve@example.com", password: PASSWORD };
  const signedUp = await ada.call("/sign-up/email", eve);
  const device = signedUp.headers.getSetCookie().find((line) => line.includes(".device="));
  await guess(ada, GUESSES.free + 5);
  assert.equal(await ada.statusOf("/sign-in/email", ADA, { cookie: device?.split(";")[0] }), 429);
});

test("must bound the guesses of a known device", async () => {
  const ada = await withAda();
  const seen: number[] = [];
  for (let guess = 0; guess < GUESSES.free + 3; guess++)
    seen.push(await ada.statusOf("/sign-in/email", WRONG, ada.device));
  assert.equal(seen.at(-1), 429, `${seen}`);
});

test("must let the owner in from a network that the account is signed in from", async () => {
  const ada = await withAda();
  const home = { [CLIENT_ADDRESS_HEADER]: "2001:db8:5:5::" };
  assert.equal(await ada.statusOf("/sign-in/email", ADA, home), 200);
  await guess(ada, GUESSES.free + 5);
  assert.equal(await ada.statusOf("/sign-in/email", ADA, home), 200);
  assert.equal(await ada.statusOf("/sign-in/email", ADA), 429);
});

test("must require the password to delete an account by bearer token too", async () => {
  const ada = await withAda();
  const refused = ada.call("/delete-user", {}, { authorization: ada.bearer });
  await assert.rejects(refused, { status: 400, code: "PASSWORD_REQUIRED" });
  assert.equal(await ada.statusOf("/sign-in/email", ADA), 200, "the account must still exist");
});

const MAIL = { MAIL_URL: "http://localhost:1/emails", MAIL_KEY: "mail-key-0123", MAIL_FROM: "a@example.com" };

test("must limit invitations by mail to strangers", async () => {
  const ada = await withAda({ PLUGINS: "organization", ...MAIL });
  const home = { ...ada.session, [CLIENT_ADDRESS_HEADER]: "192.0.2.1" };
  assert.equal(await ada.statusOf("/organization/create", { name: "Acme", slug: "acme" }, home), 200);
  const invite = (number: number) =>
    ada.statusOf("/organization/invite-member", { email: `${number}@example.com`, role: "member" }, home);
  for (let number = 0; number < 20; number++) assert.equal(await invite(number), 200);
  assert.equal(await invite(20), 429, "an address must have twenty a minute");
  const elsewhere = (number: number) =>
    ada.statusOf(
      "/organization/invite-member",
      { email: "one@example.com", role: "member", resend: true },
      { ...ada.session, [CLIENT_ADDRESS_HEADER]: `192.0.2.${100 + number}` },
    );
  const seen = [await elsewhere(1), await elsewhere(2), await elsewhere(3), await elsewhere(4)];
  assert.deepEqual(seen, [200, 200, 200, 429], "a stranger must get three mails at most");
});

test("must limit guesses at the codes that devices show", async () => {
  const ada = await withAda({ PLUGINS: "device-authorization" });
  const stranger = { [CLIENT_ADDRESS_HEADER]: "192.0.2.1" };
  const look = (code: number) =>
    ada.library.handle(libraryRequest(`/device?user_code=AAAA${code}`, { headers: stranger })).then(
      ({ status }) => status,
      ({ status }: HttpError) => status,
    );
  const looks: number[] = [];
  for (let code = 1000; code < 1012; code++) looks.push(await look(code));
  assert.deepEqual(looks, [...Array(10).fill(400), 429, 429]);
  const approvals: number[] = [];
  for (let code = 1000; code < 1022; code++)
    approvals.push(await ada.statusOf("/device/approve", { userCode: `AAAA${code}` }, ada.session));
  assert(!approvals.slice(0, GUESSES.free).includes(429));
  assert.equal(approvals.at(-1), 429);
});

test("must refuse texts longer than any name", async () => {
  const ada = await withAda();
  const rename = (name: string) => ada.statusOf("/update-user", { name }, ada.session);
  assert.equal(await rename("é".repeat(200)), 200);
  assert.equal(await rename("🙂".repeat(200)), 200);
  assert.equal(await rename("a".repeat(201)), 400);
  const signUp = (change: object) => ada.statusOf("/sign-up/email", { ...ADA, username: undefined, ...change });
  assert.equal(await signUp({ email: "b@example.com", name: "a".repeat(201) }), 400);
  assert.equal(await signUp({ email: `${"a".repeat(250)}@example.com` }), 400);
  assert.equal(await signUp({ email: "c@example.com", displayUsername: "a".repeat(201) }), 400);
});

test("must not count a sign-in as a guess that was never verified", async () => {
  const ada = await withAda();
  const headers = { [CLIENT_ADDRESS_HEADER]: "2001:db8:1::" };
  const others: Promise<unknown>[] = [];
  for (let refused = 0; refused < 25; ) {
    while (others.push(hashPassword(PASSWORD).catch(() => {})) % 40);
    await ada.call("/sign-in/email", ADA, headers).catch((error) => {
      assert.deepEqual([error.status, error.code], [503, "BUSY"]);
      refused++;
    });
  }
  await Promise.all(others);
  assert.equal(await ada.statusOf("/sign-in/email", ADA, headers), 200);
});
