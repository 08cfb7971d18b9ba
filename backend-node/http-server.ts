/**
 * HTTP in front of Better Auth: routes, limits, CORS, one error shape, one log line per request.
 *
 * The library's own Node adapter builds the URL from `Host` and `X-Forwarded-Proto` and ignores a rejected
 * handler, so one malformed request ends the process. Here the URL comes from the settings, and every
 * request is answered, whatever fails.
 */
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { AuthService } from "./auth.ts";
import { addressHasher, CLIENT_ADDRESS_HEADER, clientAddressReader } from "./client-address.ts";
import { databaseAway, HttpError } from "./http-error.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { homePage } from "./page.ts";
import { sameText } from "./same-text.ts";
import type { Settings } from "./settings.ts";

// Not imported: for an import Node evaluates every export of a module, and one of this one's, WebSocket, loads an
// HTTP client, which is a third of the time until the server listens.
const { createServer, STATUS_CODES } = process.getBuiltinModule("node:http");

const VERSION = "1.0";
const BODY_LIMIT = 64 * 1024;
/** For the whole request, body included; then 408. */
const REQUEST_DEADLINE_MS = 10_000;
const HEADER_LIMIT = 16 * 1024;
/** Requests inside the library. Its sign-ups follow one another on SQLite, so a flood would wait longer and longer. */
const MOST_AT_ONCE = 48;
const AUTH_PREFIX = "/api/auth/";
const SESSION_PATH = "/api/auth/get-session";

interface Answer {
  status: number;
  headers: OutgoingHttpHeaders;
  body?: string | Buffer;
}

/** A server that is not listening yet. `service` may still be opening; what needs it waits or answers 503. */
export function createHttpServer(settings: Settings, log: Log, service: Promise<AuthService>): Server {
  let opened: AuthService | undefined;
  service.then(
    (value) => {
      opened = value;
    },
    () => {},
  );
  const clientAddress = clientAddressReader(settings.frontSecret);
  const hashAddress = addressHasher(settings.secret);
  let atOnce = 0;
  let metrics: Metrics | undefined;
  if (settings.metricsToken)
    void import("./metrics.ts").then((module) => {
      metrics = module.createMetrics();
    });
  const embedded = settings.database.kind === "sqlite" && "embedded";
  const healthy = json(200, { status: "ok", version: VERSION, services: { database: embedded || "connected" } });
  const degraded = json(200, {
    status: "degraded",
    version: VERSION,
    services: { database: embedded || "disconnected" },
  });
  let turn = Promise.resolve();
  const corsOrigins = new Set(settings.corsOrigins);
  const trustedOrigins = new Set(settings.trustedOrigins);

  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT,
      headersTimeout: REQUEST_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      connectionsCheckingInterval: 1_000,
      // Longer than a proxy keeps its idle connections, or it meets one that is just being closed.
      keepAliveTimeout: 65_000,
      // Answered below in the server's own shape.
      requireHostHeader: false,
    },
    (request, response) => serve(request, response),
  );
  server.on("checkExpectation", (request, response) => serve(request, response, expectationFailed));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => rejectConnection(error.code ?? "", socket));
  server.on("connect", (_request, socket) => rejectConnection("CONNECT", socket));
  return server;

  /** Answers at once where nothing has to be waited for, as liveness probes and visitors without a session do not. */
  function serve(
    request: IncomingMessage,
    response: ServerResponse,
    choose: (request: IncomingMessage) => Promise<Answer> | Answer = route,
  ): void {
    const started = performance.now();
    const requestId = randomUUID();
    response.on("close", () => {
      // 499: the client left before its answer. Source: nginx.
      const status = response.writableFinished ? response.statusCode : 499;
      const ms = Math.round((performance.now() - started) * 10) / 10;
      const { method = "" } = request;
      const path = loggedPath(request);
      metrics?.observe(method, routeName(path), status, ms / 1000);
      log.request({ requestId, method, path, status, ms, client: hashAddress(clientAddress(request)) });
    });
    const give = (answer: Answer) =>
      send(request, response, requestId, answer.status < 400 ? answer : inErrorShape(answer, requestId));
    const fail = (error: unknown) =>
      send(request, response, requestId, errorAnswer(asHttpError(error, requestId), requestId));
    try {
      const answer = choose(request);
      if (answer instanceof Promise) answer.then(give).catch(fail);
      else give(answer);
    } catch (error) {
      fail(error);
    }
  }

  function send(request: IncomingMessage, response: ServerResponse, requestId: string, answer: Answer): void {
    const { origin } = request.headers;
    const headers: OutgoingHttpHeaders = {
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "cache-control": "no-store",
      ...answer.headers,
      "x-request-id": requestId,
      vary: answer.headers.vary ? `Origin, ${answer.headers.vary}` : "Origin",
    };
    if (origin !== undefined && corsOrigins.has(origin)) {
      headers["access-control-allow-origin"] = origin;
      headers["access-control-allow-credentials"] = "true";
      headers["access-control-expose-headers"] = "set-auth-token, retry-after, x-request-id";
    }
    const body = answer.body ?? "";
    if (answer.status !== 204) headers["content-length"] = Buffer.byteLength(body);
    if (response.headersSent || response.destroyed) return;
    response.writeHead(answer.status, headers);
    response.end(request.method === "HEAD" ? undefined : body);
    // Discards what was not read of the body, so that the client gets to read the answer.
    if (request.method !== "GET") request.resume();
  }

  function route(request: IncomingMessage): Promise<Answer> | Answer {
    const { method, headers, url: target = "/" } = request;
    // The two that are asked most, before anything is parsed.
    if (method === "GET" || method === "HEAD") {
      if (target === "/health") return health();
      if (target === SESSION_PATH && headers.host !== undefined) return getSession(request);
    }
    if (headers.host === undefined && request.httpVersion === "1.1")
      throw new HttpError(400, "BAD_REQUEST", "the Host header is missing");
    const url = parseTarget(target, settings.baseURL);
    const isAuth = url.pathname.startsWith(AUTH_PREFIX);
    const allowed = isAuth ? authMethods(url) : ["GET", "HEAD"];
    if (method === "OPTIONS") return options(headers, allowed);
    if (!allowed.includes(method ?? ""))
      throw new HttpError(405, "METHOD_NOT_ALLOWED", `allowed here: ${allowed.join(", ")}`, {
        allow: [...allowed, "OPTIONS"].join(", "),
      });
    if (isAuth) return auth(request, url);
    switch (url.pathname) {
      case "/":
        return home(headers.accept);
      case "/health":
        return health();
      case "/ready":
        return ready();
      case "/metrics":
        return exposition(headers.authorization);
      default:
        throw new HttpError(404, "NOT_FOUND", "no such path");
    }
  }

  /** What the client is told of `error`; the rest is logged. */
  function asHttpError(error: unknown, requestId: string): HttpError {
    if (error instanceof HttpError) return error;
    log.error({ err: error, requestId }, "request failed");
    return new HttpError(500, "INTERNAL_SERVER_ERROR", "something went wrong here");
  }

  /** A preflight request, or a plain OPTIONS. Fetch standard, "CORS protocol". */
  function options(headers: IncomingHttpHeaders, allowed: string[]): Answer {
    const allow = [...allowed, "OPTIONS"].join(", ");
    if (headers.origin === undefined) return { status: 204, headers: { allow } };
    if (!corsOrigins.has(headers.origin))
      throw new HttpError(403, "INVALID_ORIGIN", "this origin is not in CORS_ORIGINS");
    return {
      status: 204,
      headers: {
        allow,
        "access-control-allow-methods": allowed.join(", "),
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
        vary: "Access-Control-Request-Method, Access-Control-Request-Headers",
      },
    };
  }

  function authMethods(url: URL): string[] {
    const methods = opened?.route(url.pathname.slice(AUTH_PREFIX.length - 1))?.methods ?? ["GET", "POST"];
    return methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  }

  function getSession(request: IncomingMessage): Promise<Answer> | Answer {
    refuseUnlisted(request.headers.origin);
    const { cookie, authorization } = request.headers;
    // Nobody, whatever the database does: no credentials, nothing to look up.
    if (!cookie && !authorization) return sessionAnswer("null");
    const find = async ({ session }: AuthService) => {
      const found = await session(cookie, authorization);
      return found === undefined ? auth(request, new URL(settings.baseURL + SESSION_PATH)) : sessionAnswer(found);
    };
    return opened ? find(opened) : service.then(find);
  }

  async function auth(request: IncomingMessage, url: URL): Promise<Answer> {
    refuseUnlisted(request.headers.origin);
    const body = await readBody(request);
    const waited = opened ?? (await service);
    // The call that every page makes is not counted, so that polling it is never punished.
    if (url.pathname !== SESSION_PATH || request.method === "POST")
      await waited.limits.take("requestsPerAddress", clientAddress(request));
    if (atOnce >= MOST_AT_ONCE)
      throw new HttpError(503, "BUSY", "too many requests at once; try again", { "retry-after": "1" });
    const asked = libraryRequest(request, url, body, clientAddress(request), settings);
    atOnce++;
    // One begins in each turn of the event loop: between any two, what needs no library is answered.
    turn = turn.then(() => nextTurn());
    await turn;
    const response = await waited.handle(asked).finally(() => atOnce--);
    const answer = await libraryAnswer(response);
    // The library lets nobody keep it; the keys are public and change seldom.
    if (url.pathname === `${AUTH_PREFIX}jwks` && answer.status === 200)
      answer.headers["cache-control"] = "public, max-age=300";
    return answer;
  }

  /** On GET too: the Hub's edge echoes any origin, so what a browser may read is decided here alone. */
  function refuseUnlisted(origin: string | undefined): void {
    if (origin !== undefined && !trustedOrigins.has(origin))
      throw new HttpError(403, "INVALID_ORIGIN", "this origin is not in CORS_ORIGINS");
  }

  function health(): Answer {
    return opened?.connected() ? healthy : degraded;
  }

  async function ready(): Promise<Answer> {
    if (!opened || !(await opened.ping())) throw databaseAway();
    return json(200, { status: "ready", database: opened.database.kind, durable: opened.database.durable });
  }

  async function exposition(authorization = ""): Promise<Answer> {
    if (!metrics || !sameText(authorization, `Bearer ${settings.metricsToken}`))
      throw new HttpError(404, "NOT_FOUND", "no such path");
    const { type, text } = await metrics.render();
    return { status: 200, headers: { "content-type": type }, body: text };
  }

  /** A name for the metrics, of which there are only so many. */
  function routeName(path: string): string {
    if (["/", "/health", "/ready", "/metrics"].includes(path)) return path;
    const known = path.startsWith(AUTH_PREFIX) && opened?.route(path.slice(AUTH_PREFIX.length - 1));
    return known ? `/api/auth${known.path}` : "other";
  }

  function home(accept = ""): Answer {
    if (accept.includes("text/html")) {
      const page = homePage();
      return {
        status: 200,
        headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": page.policy, vary: "Accept" },
        body: page.html,
      };
    }
    const answer = json(200, {
      name: "backend-node",
      version: VERSION,
      auth: `${settings.baseURL}/api/auth`,
      health: "/health",
      ready: "/ready",
    });
    answer.headers.vary = "Accept";
    return answer;
  }

  /** Answers what never became a request: malformed, too large or too slow. */
  function rejectConnection(code: string, socket: Duplex): void {
    const [status, text] =
      code === "HPE_HEADER_OVERFLOW"
        ? [431, "Request Header Fields Too Large"]
        : code === "ERR_HTTP_REQUEST_TIMEOUT"
          ? [408, "Request Timeout"]
          : code === "CONNECT"
            ? [405, "Method Not Allowed"]
            : [400, "Bad Request"];
    if (code === "ECONNRESET" || !socket.writable) return void socket.destroy();
    const requestId = randomUUID();
    const body = JSON.stringify({ code: text.toUpperCase().replaceAll(" ", "_"), message: text, requestId });
    log.info({ requestId, status, reason: code }, "request");
    socket.end(
      `HTTP/1.1 ${status} ${text}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n` +
        `x-request-id: ${requestId}\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      () => socket.destroy(),
    );
  }
}

function sessionAnswer(body: string): Answer {
  return { status: 200, headers: { "content-type": "application/json", pragma: "no-cache" }, body };
}

/** The path without its query; a mail's link carries its token in the path. */
function loggedPath({ url = "/" }: IncomingMessage): string {
  const question = url.indexOf("?");
  const path = question < 0 ? url : url.slice(0, question);
  return path.includes("/reset-password/") ? path.replace(/(\/reset-password\/).*/, "$1:token") : path;
}

/** Origin-form or absolute-form (RFC 9112 section 3.2) on the server's own origin; `Host` plays no part. */
function parseTarget(target: string, base: string): URL {
  const path = /^https?:\/\/[^/?#]*/i.test(target) ? target.replace(/^https?:\/\/[^/?#]*/i, "") || "/" : target;
  return new URL(base + (path.startsWith("/") ? path : `/${path}`));
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

/** What the library reads. Forwarding headers of any kind stay out: the URL and the address are decided here. */
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
];

function libraryRequest(
  request: IncomingMessage,
  url: URL,
  body: Buffer,
  address: string,
  settings: Settings,
): Request {
  const headers = new Headers();
  for (const name of PASSED_HEADERS) {
    const value = request.headers[name];
    if (typeof value === "string") headers.set(name, value);
  }
  headers.set(CLIENT_ADDRESS_HEADER, address);
  // A browser sends JSON under this type across sites without a preflight request, which the Hub's edge would answer
  // without credentials. Only from a listed origin, because the origin is then the whole defence.
  const { origin, "content-type": type = "" } = request.headers;
  const crossSite = settings.cookieMode === "cross-site" && settings.corsOrigins.includes(origin ?? "");
  if (crossSite && /^text\/plain\b/i.test(type)) headers.set("content-type", "application/json");
  const method = request.method === "HEAD" ? "GET" : (request.method ?? "GET");
  // An empty body counts as none, or the library asks for its content type: sign-out has neither.
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

/** The library's `code` and `message`, where it gave any; of a 5xx nothing is passed on. */
function inErrorShape(answer: Answer, requestId: string): Answer {
  let code = (STATUS_CODES[answer.status] ?? "Error").toUpperCase().replaceAll(" ", "_");
  let message = STATUS_CODES[answer.status] ?? "Error";
  if (answer.status < 500) {
    try {
      const given = JSON.parse(String(answer.body));
      if (typeof given.code === "string") code = given.code;
      if (typeof given.message === "string") message = given.message;
    } catch {
      // The library answers 404 with an empty body.
    }
  }
  return errorAnswer(new HttpError(answer.status, code, message, answer.headers), requestId);
}

function errorAnswer(error: HttpError, requestId: string): Answer {
  const answer = json(error.status, { code: error.code, message: error.message, requestId });
  return { ...answer, headers: { ...error.headers, ...answer.headers } };
}

function expectationFailed(): never {
  throw new HttpError(417, "EXPECTATION_FAILED", "only 100-continue can be expected");
}

function json(status: number, value: unknown): Answer {
  return { status, headers: { "content-type": "application/json; charset=utf-8" }, body: JSON.stringify(value) };
}
