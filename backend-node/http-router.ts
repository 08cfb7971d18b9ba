/** Routes each request. Needs no library itself. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { AuthService } from "./auth.ts";
import { AUTH_PREFIX, createAuthCalls, SESSION_PATH } from "./auth-calls.ts";
import { type Answer, json } from "./http-answer.ts";
import { databaseAway, databaseFull, HttpError } from "./http-error.ts";
import type { Metrics } from "./metrics.ts";
import { homePage } from "./page.ts";
import { sameText } from "./same-text.ts";
import type { Settings } from "./settings.ts";

const VERSION = "1.0";

export interface Router {
  /** @throws HttpError, or any other error. */
  route(request: IncomingMessage, requestId: string): Promise<Answer> | Answer;
  /** The name of a path in the metrics, from a bounded set. */
  routeName(path: string): string;
}

export function createRouter(
  settings: Settings,
  service: Promise<AuthService>,
  clientAddress: (request: IncomingMessage) => string,
  metrics: () => Metrics | undefined,
): Router {
  let opened: AuthService | undefined;
  service.then(
    (value) => {
      opened = value;
    },
    () => {},
  );
  const calls = createAuthCalls(settings, service, clientAddress);
  const corsOrigins = new Set(settings.corsOrigins);
  const allowedHeaders = [
    ...["authorization", "content-type"],
    ...(settings.plugins.includes("api-key") ? ["x-api-key"] : []),
    ...(settings.turnstileSecret ? ["x-captcha-response"] : []),
  ].join(", ");
  const embedded = settings.database.kind === "sqlite" && "embedded";
  const healthy = json(200, { status: "ok", version: VERSION, services: { database: embedded || "connected" } });
  const degraded = json(200, {
    status: "degraded",
    version: VERSION,
    services: { database: embedded || "disconnected" },
  });

  return { route, routeName };

  function route(request: IncomingMessage, requestId: string): Promise<Answer> | Answer {
    const { method, headers, url: target = "/" } = request;
    checkHead(request);
    // The two most frequent requests come first, without parsing.
    if (method === "GET" || method === "HEAD") {
      if (target === "/health") return health();
      if (target === SESSION_PATH) return calls.getSession(request, requestId);
    }
    const url = parseTarget(target, settings.baseURL);
    const isAuth = url.pathname.startsWith(AUTH_PREFIX);
    const allowed = isAuth ? authMethods(url) : ["GET", "HEAD"];
    if (method === "OPTIONS") return options(headers, allowed);
    if (!allowed.includes(method ?? ""))
      throw new HttpError(405, "METHOD_NOT_ALLOWED", `allowed here: ${allowed.join(", ")}`, {
        allow: [...allowed, "OPTIONS"].join(", "),
      });
    if (isAuth) return calls.call(request, url, requestId);
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
        "access-control-allow-headers": allowedHeaders,
        "access-control-max-age": "600",
        vary: "Access-Control-Request-Method, Access-Control-Request-Headers",
      },
    };
  }

  function authMethods(url: URL): string[] {
    const methods = opened?.route(url.pathname.slice(AUTH_PREFIX.length - 1))?.methods ?? ["GET", "POST"];
    return methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  }

  function health(): Answer {
    return opened?.connected() ? healthy : degraded;
  }

  async function ready(): Promise<Answer> {
    if (!opened || !(await opened.ping())) throw databaseAway();
    if (opened.database.full()) throw databaseFull();
    return json(200, { status: "ready", database: opened.database.kind, durable: opened.database.durable });
  }

  async function exposition(authorization = ""): Promise<Answer> {
    const metricsText = sameText(authorization, `Bearer ${settings.metricsToken}`) && (await metrics()?.render());
    if (!metricsText) throw new HttpError(404, "NOT_FOUND", "no such path");
    return { status: 200, headers: { "content-type": metricsText.type }, body: metricsText.text };
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

  function routeName(path: string): string {
    if (["/", "/health", "/ready", "/metrics"].includes(path)) return path;
    const known = path.startsWith(AUTH_PREFIX) && opened?.route(path.slice(AUTH_PREFIX.length - 1));
    return known ? `/api/auth${known.path}` : "other";
  }
}

/** What Node's parser lets pass: a request line without a version, and other than one Host (RFC 9112 section 3.2). */
function checkHead({ headers, httpVersion, rawHeaders }: IncomingMessage): void {
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

/** Origin-form or absolute-form (RFC 9112 section 3.2) on the server's own origin; `Host` plays no part. */
function parseTarget(target: string, base: string): URL {
  const path = /^https?:\/\/[^/?#]*/i.test(target) ? target.replace(/^https?:\/\/[^/?#]*/i, "") || "/" : target;
  return new URL(base + (path.startsWith("/") ? path : `/${path}`));
}
