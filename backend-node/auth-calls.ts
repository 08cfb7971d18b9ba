/** `/api/auth/*`: converts requests for the library and its answers for the client. */
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import type { AuthService } from "./auth.ts";
import { CLIENT_ADDRESS_HEADER, REQUEST_ID_HEADER } from "./client-address.ts";
import type { Answer } from "./http-answer.ts";
import { HttpError } from "./http-error.ts";
import { staysHere } from "./redirects.ts";
import type { Settings } from "./settings.ts";

export const AUTH_PREFIX = "/api/auth/";
export const SESSION_PATH = "/api/auth/get-session";

const BODY_LIMIT = 64 * 1024;
/** The most simultaneous requests in the library: a flood gets 503 instead of ever longer waits. */
const MOST_AT_ONCE = 48;
/** Time of an answer that may send mail: the same with and without an account. */
const MAIL_ANSWER_MS = 500;

export interface AuthCalls {
  /** `GET get-session`. */
  getSession(request: IncomingMessage, requestId: string): Promise<Answer> | Answer;
  /** Any other call. */
  call(request: IncomingMessage, url: URL, requestId: string): Promise<Answer>;
}

/** @param service a call waits while it opens. */
export function createAuthCalls(
  settings: Settings,
  service: Promise<AuthService>,
  clientAddress: (request: IncomingMessage) => string,
): AuthCalls {
  let opened: AuthService | undefined;
  service.then(
    (value) => {
      opened = value;
    },
    () => {},
  );
  const trustedOrigins = new Set(settings.trustedOrigins);
  const takesApiKeys = settings.plugins.includes("api-key");
  let atOnce = 0;
  let turn = Promise.resolve();

  return {
    getSession: (request, requestId) => {
      refuseUnlisted(request.headers.origin);
      const { cookie, authorization } = request.headers;
      const byLibrary = () => call(request, new URL(settings.baseURL + SESSION_PATH), requestId);
      if (takesApiKeys && request.headers["x-api-key"]) return byLibrary();
      // Without credentials there is no user, whatever the state of the database.
      if (!cookie && !authorization) return sessionAnswer("null");
      const find = async ({ session }: AuthService) => {
        const found = await session(cookie, authorization);
        return found === undefined ? byLibrary() : sessionAnswer(found);
      };
      return opened ? find(opened) : service.then(find);
    },
    call,
  };

  async function call(request: IncomingMessage, url: URL, requestId: string): Promise<Answer> {
    refuseUnlisted(request.headers.origin);
    const body = await readBody(request);
    const auth = opened ?? (await service);
    // `get-session` does not count: every page calls it, and may poll it.
    if (url.pathname !== SESSION_PATH || request.method === "POST")
      await auth.limits.take("requestsPerAddress", clientAddress(request));
    if (atOnce >= MOST_AT_ONCE)
      throw new HttpError(503, "BUSY", "the server has too many requests at once; try again in a second", {
        "retry-after": "1",
      });
    const forwarded = libraryRequest(request, url, body, settings);
    forwarded.headers.set(CLIENT_ADDRESS_HEADER, clientAddress(request));
    forwarded.headers.set(REQUEST_ID_HEADER, requestId);
    const started = performance.now();
    atOnce++;
    // Each turn of the event loop starts one call, so that answers without the library come in between.
    turn = turn.then(() => nextTurn());
    await turn;
    const response = await auth.handle(forwarded).finally(() => atOnce--);
    const answer = await libraryAnswer(response);
    checkLocation(answer);
    // The library forbids caching; the keys are public and seldom change.
    if (url.pathname === `${AUTH_PREFIX}jwks` && answer.status === 200)
      answer.headers["cache-control"] = "public, max-age=300";
    if (auth.sendsMail(url.pathname.slice(AUTH_PREFIX.length - 1)))
      await delay(Math.max(0, started + MAIL_ANSWER_MS - performance.now()));
    return answer;
  }

  /** On GET too: the Hub's edge echoes any origin, so only this check limits what a browser may read. */
  function refuseUnlisted(origin: string | undefined): void {
    if (origin !== undefined && !trustedOrigins.has(origin))
      throw new HttpError(403, "INVALID_ORIGIN", "this origin is not in CORS_ORIGINS");
  }

  /** The guard checks the targets in a call; this checks the library's redirect. */
  function checkLocation({ status, headers }: Answer): void {
    const { location } = headers;
    if (location === undefined || staysHere(String(location), settings.baseURL, trustedOrigins)) return;
    if (status >= 300 && status < 400)
      throw new HttpError(403, "INVALID_CALLBACK_URL", "the redirect target is not on a trusted origin");
    // For a social sign-in the library's client reads the URL from the body.
    delete headers.location;
  }
}

function sessionAnswer(body: string): Answer {
  return { status: 200, headers: { "content-type": "application/json", pragma: "no-cache" }, body };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () =>
    new HttpError(413, "PAYLOAD_TOO_LARGE", `the body is larger than ${BODY_LIMIT} bytes`, { connection: "close" });
  if (Number(request.headers["content-length"] ?? 0) > BODY_LIMIT) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > BODY_LIMIT) {
        chunks.length = 0;
        reject(tooLarge());
      } else chunks.push(chunk);
    });
    request.on("end", () => resolve(Buffer.concat(chunks)));
    request.on("error", () => reject(new HttpError(400, "BAD_REQUEST", "the body did not arrive")));
    request.on("close", () => reject(new HttpError(400, "BAD_REQUEST", "the body did not arrive")));
  });
}

/** The headers that the library gets. It gets no forwarding headers: this server decides URL and address. */
const PASSED_HEADERS = [
  "accept",
  "accept-language",
  "authorization",
  "content-type",
  "cookie",
  "origin",
  "referer",
  "sec-fetch-dest",
  "sec-fetch-mode",
  "sec-fetch-site",
  "user-agent",
  // Plugins that may be off read these.
  "x-api-key",
  "x-captcha-response",
];
/** The server stores it with each session. A browser's has about 200 characters. */
const USER_AGENT_LIMIT = 500;

function libraryRequest(request: IncomingMessage, url: URL, body: Buffer, settings: Settings): Request {
  const headers = new Headers();
  for (const name of PASSED_HEADERS) {
    const value = request.headers[name];
    if (typeof value === "string") headers.set(name, name === "user-agent" ? value.slice(0, USER_AGENT_LIMIT) : value);
  }
  // A browser sends JSON under this type across sites without a preflight request, which the Hub's edge would answer
  // without credentials. Only from a listed origin, because the origin is then the whole defence.
  const { origin, "content-type": type = "" } = request.headers;
  const crossSite = settings.cookieMode === "cross-site" && settings.corsOrigins.includes(origin ?? "");
  if (crossSite && /^text\/plain\b/i.test(type)) headers.set("content-type", "application/json");
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "GET");
  // An empty body counts as absent. Otherwise the library requires a content type, which sign-out lacks.
  if (method === "GET" || body.length === 0) {
    headers.delete("content-type");
    return new Request(url, { method, headers });
  }
  return new Request(url, { method, headers, body: new Uint8Array(body) });
}

async function libraryAnswer(response: Response): Promise<Answer> {
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of response.headers)
    if (name !== "set-cookie" && !name.startsWith("access-control-") && name !== "content-length")
      headers[name] = value;
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) headers["set-cookie"] = cookies;
  return { status: response.status, headers, body: Buffer.from(await response.arrayBuffer()) };
}
