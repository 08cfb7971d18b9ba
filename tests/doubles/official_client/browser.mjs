/** The parts of a browser on the front end's site that Better Auth's client needs: cookies, origin, address. */
import { apiKeyClient } from "@better-auth/api-key/client";
import { passkeyClient } from "@better-auth/passkey/client";
import { createAuthClient } from "better-auth/client";
import {
  adminClient,
  deviceAuthorizationClient,
  emailOTPClient,
  jwtClient,
  magicLinkClient,
  multiSessionClient,
  organizationClient,
  twoFactorClient,
  usernameClient,
} from "better-auth/client/plugins";

/** The public origin; the front end's host forwards it to the server (mode A of README.md). */
export const BASE = "https://auth.example";
export const FRONT = "https://front.example";
export const PASSWORD = "correct horse battery";
const SERVER = "http://backend-node:7860";

/** Each route that a call has reached, as `GET /path`. */
export const routes = new Set();
let people = 0;

export class Browser {
  cookies = new Map();
  /** The headers of the last response. */
  answered = new Headers();
  person = ++people;
  email = `person-${this.person}-${Date.now()}@example.com`;
  client = createAuthClient({
    baseURL: BASE,
    fetchOptions: { customFetchImpl: (input, init) => this.fetch(input, init) },
    plugins: [
      adminClient(),
      apiKeyClient(),
      deviceAuthorizationClient(),
      emailOTPClient(),
      jwtClient(),
      magicLinkClient(),
      multiSessionClient(),
      organizationClient(),
      passkeyClient(),
      twoFactorClient(),
      usernameClient(),
    ],
  });

  async fetch(input, init) {
    const given = new Request(input, init);
    const url = new URL(given.url);
    routes.add(`${given.method} ${url.pathname.replace("/api/auth", "")}`);
    const headers = new Headers(given.headers);
    headers.set("origin", FRONT);
    headers.set("x-forwarded-for", `198.51.${this.person >> 8}.${this.person & 255}`);
    if (this.cookies.size > 0) headers.set("cookie", [...this.cookies].map((pair) => pair.join("=")).join("; "));
    const body = given.method === "GET" ? undefined : await given.text();
    const answer = await fetch(SERVER + url.pathname + url.search, {
      method: given.method,
      headers,
      body: body || undefined,
      redirect: "manual",
    });
    for (const line of answer.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split("; ");
      const name = pair.slice(0, pair.indexOf("="));
      if (attributes.includes("Max-Age=0")) this.cookies.delete(name);
      else this.cookies.set(name, pair.slice(name.length + 1));
    }
    this.answered = answer.headers;
    return answer;
  }

  /** Opens a link of a mail. Returns the target of the redirect without following it. */
  async visit(link) {
    const answer = await this.fetch(link);
    return new URL(answer.headers.get("location") ?? "about:blank", BASE);
  }

  signUp(fields = {}) {
    return this.client.signUp.email({ name: "Ada", email: this.email, password: PASSWORD, ...fields });
  }

  signIn(fields = {}) {
    return this.client.signIn.email({ email: this.email, password: PASSWORD, ...fields });
  }
}

/** Waits for the last mail to `address` and returns its text. */
export async function mailTo(address, seen = 0) {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    const sent = await (await fetch("http://mail:8080/sent")).json();
    const mails = sent.filter(({ to }) => to.includes(address));
    if (mails.length > seen) return mails.at(-1).text;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`no mail number ${seen + 1} to ${address} within 10 s`);
}

/** The link to the server in a mail. */
export function linkIn(text) {
  const link = text.split(/\s/).find((word) => word.startsWith(BASE));
  if (!link) throw new Error(`no link in ${text}`);
  return link;
}
