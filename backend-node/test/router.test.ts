import assert from "node:assert/strict";
import test from "node:test";
import { type BetterAuthOptions, betterAuth } from "better-auth";
import { getEndpoints } from "better-auth/api";
import { libraryRequest, openTestLibrary, PASSWORD } from "./server.ts";

const { options, library } = await openTestLibrary();
const stock = betterAuth<BetterAuthOptions>(options);

/** The comparable parts of an answer, without random identifiers and times. */
async function shape(answering: Promise<Response>): Promise<object> {
  try {
    const answer = await answering;
    const body = (await answer.text()).replace(/[\w-]{20,}|\d{4}-\d\d-\d\dT[\d:.]+Z|"id":"[^"]*"/g, "*");
    const cookies = answer.headers.getSetCookie().map((cookie) => cookie.split("=")[0]);
    return { status: answer.status, type: answer.headers.get("content-type"), cookies, body };
  } catch (error) {
    return { thrown: (error as Error).message };
  }
}

const routes = Object.values(getEndpoints(stock.$context, options).api).flatMap((endpoint) => {
  const { path, options: declared } = endpoint as { path?: string; options: { method: string | string[] } };
  return path ? [declared.method].flat().map((method) => [method, path.replace(/:\w+/g, "some")] as const) : [];
});
assert(routes.length > 50, "the library declares too few routes");

for (const [method, path] of [...routes, ["GET", "/nope"], ["POST", "/get-session/"]] as const)
  test(`must answer ${method} ${path} like the library's own router`, async () => {
    const request = () => libraryRequest(path, { method, ...(method === "POST" && { body: {} }) });
    assert.deepEqual(await shape(library.handle(request())), await shape(stock.handler(request())));
  });

test("must know each route with its methods, and no other", () => {
  assert.deepEqual(library.route("/sign-in/email"), { path: "/sign-in/email", methods: ["POST"] });
  assert.equal(library.route("/callback/github")?.path, "/callback/:id");
  assert.equal(library.route("/nope"), undefined);
});

test("must keep the sessions of simultaneous callers apart", async () => {
  const people = Array.from({ length: 12 }, (_, number) => `person-${number}@example.com`);
  const cookies = await Promise.all(
    people.map(async (email) => {
      const request = libraryRequest("/sign-up/email", {
        body: { name: email, email, password: PASSWORD },
      });
      return (await library.handle(request)).headers.getSetCookie()[0]?.split(";")[0] ?? "";
    }),
  );
  const seen = await Promise.all(
    cookies.map(async (cookie) => {
      const answer = await library.handle(libraryRequest("/list-sessions", { headers: { cookie } }));
      const session = await library.handle(libraryRequest("/get-session?disableRefresh=true", { headers: { cookie } }));
      assert.equal(((await answer.json()) as unknown[]).length, 1);
      return ((await session.json()) as { user: { email: string } }).user.email;
    }),
  );
  assert.deepEqual(seen, people);
});
