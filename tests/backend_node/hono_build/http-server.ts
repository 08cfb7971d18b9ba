/**
 * The server's HTTP layer with Hono: the same routes, limits, headers, error format and log line.
 *
 * A comparison for `http-server.ts`, `http-router.ts`, `http-answer.ts` and `auth-calls.ts`; it is never pushed.
 */
import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import type { Duplex } from "node:stream";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { createAdaptorServer, type HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { AuthService } from "./auth.ts";
import { addressHasher, CLIENT_ADDRESS_HEADER, clientAddressReader, REQUEST_ID_HEADER } from "./client-address.ts";
import { createDrain } from "./drain.ts";
import { databaseAway, databaseFull, HttpError } from "./http-error.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { homePage } from "./page.ts";
import { staysHere } from "./redirects.ts";
import { sameText } from "./same-text.ts";
import type { Settings } from "./settings.ts";

const { STATUS_CODES } = process.getBuiltinModule("node:http");
const VERSION = "1.0";
const AUTH_PREFIX = "/api/auth/";
const SESSION_PATH = "/api/auth/get-session";
const BODY_LIMIT = 64 * 1024;
const MOST_AT_ONCE = 48;
const MAIL_ANSWER_MS = 500;
const REQUEST_DEADLINE_MS = 10_000;
const PASSED_HEADERS = [
  ...["accept", "accept-language", "authorization", "content-type", "cookie", "origin", "referer", "sec-fetch-dest"],
  ...["sec-fetch-mode", "sec-fetch-site", "user-agent", "x-api-key", "x-captcha-response"],
];

type Env = { Bindings: HttpBindings; Variables: { requestId: string } };

export function createHttpServer(
  settings: Settings,
  log: Log,
  service: Promise<AuthService>,
): { server: Server; stop(): Promise<void> } {
  let opened: AuthService | undefined;
  service.then(
    (value) => {
      opened = value;
    },
    () => {},
  );
  let metrics: Metrics | undefined;
  if (settings.metricsToken)
    void import("./metrics.ts").then((module) => {
      metrics = module.createMetrics();
    });
  const readAddress = clientAddressReader(settings.frontSecret);
  const hashAddress = addressHasher(settings.secret);
  const corsOrigins = new Set(settings.corsOrigins);
  const trustedOrigins = new Set(settings.trustedOrigins);
  const allowedHeaders = [
    ...["authorization", "content-type"],
    ...(settings.plugins.includes("api-key") ? ["x-api-key"] : []),
    ...(settings.turnstileSecret ? ["x-captcha-response"] : []),
  ].join(", ");
  const embedded = settings.database.kind === "sqlite" && "embedded";
  const healthy = { status: "ok", version: VERSION, services: { database: embedded || "connected" } };
  const degraded = { status: "degraded", version: VERSION, services: { database: embedded || "disconnected" } };
  let atOnce = 0;
  let turn = Promise.resolve();

  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const { incoming, outgoing } = c.env;
    const started = performance.now();
    const requestId = randomUUID();
    c.set("requestId", requestId);
    drain.start(incoming);
    outgoing.on("close", () => {
      drain.end(incoming);
      const status = outgoing.writableFinished ? outgoing.statusCode : 499;
      const ms = Math.round((performance.now() - started) * 10) / 10;
      const { method = "" } = incoming;
      const path = loggedPath(incoming.url ?? "/");
      metrics?.observe(method, routeName(path), status, ms / 1000);
      log.request({ requestId, method, path, status, ms, client: hashAddress(readAddress(incoming)) });
    });
    await next();
    const { headers } = c.res;
    headers.set("x-content-type-options", "nosniff");
    headers.set("referrer-policy", "no-referrer");
    if (!headers.has("content-security-policy"))
      headers.set("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
    headers.set("x-request-id", requestId);
    const vary = headers.get("vary");
    headers.set("vary", vary ? `Origin, ${vary}` : "Origin");
    if (drain.isStopping()) headers.set("connection", "close");
    const origin = c.req.header("origin");
    if (origin !== undefined && corsOrigins.has(origin)) {
      headers.set("access-control-allow-origin", origin);
      headers.set("access-control-allow-credentials", "true");
      headers.set("access-control-expose-headers", "set-auth-token, retry-after, x-retry-after, x-request-id");
    }
  });

  app.use(async (c, next) => {
    checkHead(c);
    const allowed = allowedMethods(c.req.path);
    const { method } = c.env.incoming;
    if (method === "OPTIONS") return options(c, allowed);
    if (!allowed.includes(method ?? ""))
      throw new HttpError(405, "METHOD_NOT_ALLOWED", `allowed here: ${allowed.join(", ")}`, {
        allow: [...allowed, "OPTIONS"].join(", "),
      });
    return next();
  });

  app.get("/health", (c) => c.json(opened?.connected() ? healthy : degraded));

  app.get("/ready", async (c) => {
    if (!opened || !(await opened.ping())) throw databaseAway();
    if (opened.database.full()) throw databaseFull();
    return c.json({ status: "ready", database: opened.database.kind, durable: opened.database.durable });
  });

  app.get("/metrics", async (c) => {
    const shown =
      sameText(c.req.header("authorization") ?? "", `Bearer ${settings.metricsToken}`) && (await metrics?.render());
    if (!shown) throw new HttpError(404, "NOT_FOUND", "no such path");
    return c.body(shown.text, 200, { "content-type": shown.type });
  });

  app.get("/", (c) => {
    c.header("vary", "Accept");
    if (c.req.header("accept")?.includes("text/html")) {
      const page = homePage();
      c.header("content-security-policy", page.policy);
      return c.html(page.html);
    }
    const auth = `${settings.baseURL}/api/auth`;
    return c.json({ name: "backend-node", version: VERSION, auth, health: "/health", ready: "/ready" });
  });

  app.use("/api/auth/*", async (c, next) => {
    const origin = c.req.header("origin");
    if (origin !== undefined && !trustedOrigins.has(origin))
      throw new HttpError(403, "INVALID_ORIGIN", "this origin is not in CORS_ORIGINS");
    return next();
  });

  app.get(SESSION_PATH, async (c, next) => {
    if (new URL(c.req.url).search !== "" || c.req.header("x-api-key")) return next();
    const { cookie, authorization } = c.env.incoming.headers;
    const found = cookie || authorization ? await (opened ?? (await service)).session(cookie, authorization) : "null";
    if (found === undefined) return next();
    return c.body(found, 200, { "content-type": "application/json", pragma: "no-cache" });
  });

  const limit = bodyLimit({
    maxSize: BODY_LIMIT,
    onError: () => {
      throw new HttpError(413, "PAYLOAD_TOO_LARGE", `the body is larger than ${BODY_LIMIT} bytes`, {
        connection: "close",
      });
    },
  });
  app.all("/api/auth/*", limit, async (c) => {
    const { path } = c.req;
    const address = readAddress(c.env.incoming);
    const forwarded = await libraryRequest(c, address);
    const auth = opened ?? (await service);
    if (path !== SESSION_PATH || c.req.method === "POST") await auth.limits.take("requestsPerAddress", address);
    if (atOnce >= MOST_AT_ONCE)
      throw new HttpError(503, "BUSY", "the server has too many requests at once; try again in a second", { "retry-after": "1" });
    const started = performance.now();
    atOnce++;
    turn = turn.then(() => nextTurn());
    await turn;
    const response = await auth.handle(forwarded).finally(() => atOnce--);
    const answer = await libraryAnswer(response, c.get("requestId"));
    if (path === `${AUTH_PREFIX}jwks` && answer.status === 200)
      answer.headers.set("cache-control", "public, max-age=300");
    if (auth.sendsMail(path.slice(AUTH_PREFIX.length - 1)))
      await delay(Math.max(0, started + MAIL_ANSWER_MS - performance.now()));
    return answer;
  });

  app.notFound((c) => errorResponse(new HttpError(404, "NOT_FOUND", "no such path"), c.get("requestId")));
  app.onError((error, c) => {
    const requestId = c.get("requestId");
    if (error instanceof HttpError) return errorResponse(error, requestId);
    log.error({ err: error, requestId }, "request failed");
    return errorResponse(new HttpError(500, "INTERNAL_SERVER_ERROR", "the server has an internal error; its log has the request id"), requestId);
  });

  const server = createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: {
      maxHeaderSize: 16 * 1024,
      headersTimeout: REQUEST_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 65_000,
      requireHostHeader: false,
    },
  }) as Server;
  const drain = createDrain(server);
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => rejectConnection(error.code ?? "", socket, log));
  server.on("connect", (_request, socket) => rejectConnection("CONNECT", socket, log));
  return { server, stop: drain.stop };

  function allowedMethods(path: string): string[] {
    if (!path.startsWith(AUTH_PREFIX)) return ["GET", "HEAD"];
    const methods = opened?.route(path.slice(AUTH_PREFIX.length - 1))?.methods ?? ["GET", "POST"];
    return methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  }

  function options(c: Context<Env>, allowed: string[]): Response {
    const allow = [...allowed, "OPTIONS"].join(", ");
    const origin = c.req.header("origin");
    if (origin === undefined) return c.body(null, 204, { allow });
    if (!corsOrigins.has(origin)) throw new HttpError(403, "INVALID_ORIGIN", "this origin is not in CORS_ORIGINS");
    return c.body(null, 204, {
      allow,
      "access-control-allow-methods": allowed.join(", "),
      "access-control-allow-headers": allowedHeaders,
      "access-control-max-age": "600",
      vary: "Access-Control-Request-Method, Access-Control-Request-Headers",
    });
  }

  async function libraryRequest(c: Context<Env>, address: string): Promise<Request> {
    const headers = new Headers();
    for (const name of PASSED_HEADERS) {
      const value = c.req.header(name);
      if (value !== undefined) headers.set(name, name === "user-agent" ? value.slice(0, 500) : value);
    }
    headers.set(CLIENT_ADDRESS_HEADER, address);
    headers.set(REQUEST_ID_HEADER, c.get("requestId"));
    const crossSite = settings.cookieMode === "cross-site" && corsOrigins.has(c.req.header("origin") ?? "");
    if (crossSite && /^text\/plain\b/i.test(c.req.header("content-type") ?? ""))
      headers.set("content-type", "application/json");
    const { pathname, search } = new URL(c.req.url);
    const url = settings.baseURL + pathname + search;
    const method = c.req.method === "HEAD" ? "GET" : c.req.method;
    const body = method === "GET" ? undefined : await c.req.arrayBuffer();
    if (body === undefined || body.byteLength === 0) {
      headers.delete("content-type");
      return new Request(url, { method, headers });
    }
    return new Request(url, { method, headers, body });
  }

  async function libraryAnswer(response: Response, requestId: string): Promise<Response> {
    const headers = new Headers(response.headers);
    for (const name of [...headers.keys()])
      if (name.startsWith("access-control-") || name === "content-length") headers.delete(name);
    const location = headers.get("location");
    if (location !== null && !staysHere(location, settings.baseURL, trustedOrigins)) {
      if (response.status >= 300 && response.status < 400)
        throw new HttpError(403, "INVALID_CALLBACK_URL", "the redirect target is not on a trusted origin");
      headers.delete("location");
    }
    const body = await response.text();
    if (response.status < 400) return new Response(body, { status: response.status, headers });
    let { code, message } = defaultError(response.status);
    if (response.status < 500)
      try {
        const given = JSON.parse(body);
        if (typeof given.code === "string") code = given.code;
        if (typeof given.message === "string") message = given.message;
      } catch {
        // The library answers 404 with an empty body.
      }
    return errorResponse(new HttpError(response.status, code, message, Object.fromEntries(headers)), requestId);
  }

  function routeName(path: string): string {
    if (["/", "/health", "/ready", "/metrics"].includes(path)) return path;
    const known = path.startsWith(AUTH_PREFIX) && opened?.route(path.slice(AUTH_PREFIX.length - 1));
    return known ? `/api/auth${known.path}` : "other";
  }
}

function errorResponse({ status, code, message, headers: given }: HttpError, requestId: string): Response {
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  for (const [name, value] of Object.entries(given))
    if (name !== "content-type" && value !== undefined) headers.set(name, String(value));
  return new Response(JSON.stringify({ code, message, requestId }), { status: status as ContentfulStatusCode, headers });
}

function defaultError(status: number): { code: string; message: string } {
  const message = STATUS_CODES[status] ?? "Error";
  return { code: message.toUpperCase().replaceAll(" ", "_"), message };
}

function loggedPath(url: string): string {
  const question = url.indexOf("?");
  const path = question < 0 ? url : url.slice(0, question);
  return path.includes("/reset-password/") ? path.replace(/(\/reset-password\/).*/, "$1:token") : path;
}

function checkHead(c: Context<Env>): void {
  const { headers, httpVersion, rawHeaders } = c.env.incoming;
  const refuse = (message: string) => new HttpError(400, "BAD_REQUEST", message, { connection: "close" });
  if (httpVersion !== "1.1" && httpVersion !== "1.0") throw refuse("the request line must end with HTTP/1.1");
  if (headers.host === undefined && httpVersion === "1.1") throw refuse("the Host header is missing");
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  if (hosts > 1) throw refuse("there is more than one Host header");
}

const REJECTIONS: Record<string, number> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408, CONNECT: 405 };

function rejectConnection(reason: string, socket: Duplex, log: Log): void {
  if (reason === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const status = REJECTIONS[reason] ?? 400;
  const requestId = randomUUID();
  const { code, message } = defaultError(status);
  const body = JSON.stringify({ code, message, requestId });
  log.info({ requestId, status, reason }, "request");
  socket.end(
    `HTTP/1.1 ${status} ${message}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n` +
      `x-request-id: ${requestId}\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
