/**
 * The server: one answer, one log line and one set of headers for each request, even after a failure.
 *
 * The library's own Node adapter builds the URL from `Host` and `X-Forwarded-Proto` and ignores a rejected handler, so
 * a single malformed request ends the process. `http-router.ts` chooses the answer.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { AuthService } from "./auth.ts";
import { addressHasher, clientAddressReader } from "./client-address.ts";
import { createDrain } from "./drain.ts";
import { type Answer, defaultError, errorAnswer, inErrorShape } from "./http-answer.ts";
import { HttpError } from "./http-error.ts";
import { createRouter } from "./http-router.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Settings } from "./settings.ts";

// Not imported: for an import Node evaluates every export of a module, and one of this one's, WebSocket, loads an
// HTTP client, which is a third of the time until the server listens.
const { createServer } = process.getBuiltinModule("node:http");

/** Time limit for a whole request with its body; then 408. */
const REQUEST_DEADLINE_MS = 10_000;
const HEADER_LIMIT = 16 * 1024;

export interface HttpServer {
  /** The server, which does not listen yet. */
  server: Server;
  /** Ends all connections, each after its pending answer. */
  stop(): Promise<void>;
}

/** @param service while it opens, requests that need it wait or get 503. */
export function createHttpServer(settings: Settings, log: Log, service: Promise<AuthService>): HttpServer {
  let metrics: Metrics | undefined;
  if (settings.metricsToken)
    void import("./metrics.ts").then((module) => {
      metrics = module.createMetrics();
    });
  const clientAddress = clientAddressReader(settings.frontSecret);
  const hashAddress = addressHasher(settings.secret);
  const corsOrigins = new Set(settings.corsOrigins);
  const router = createRouter(settings, service, clientAddress, () => metrics);

  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT,
      headersTimeout: REQUEST_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      connectionsCheckingInterval: 1_000,
      // Longer than a proxy keeps idle connections: otherwise the proxy uses a connection that is closing.
      keepAliveTimeout: 65_000,
      // The router answers it in the server's format.
      requireHostHeader: false,
    },
    (request, response) => serve(request, response),
  );
  const drain = createDrain(server);
  server.on("checkExpectation", (request, response) => serve(request, response, expectationFailed));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => rejectConnection(error.code ?? "", socket, log));
  server.on("connect", (_request, socket) => rejectConnection("CONNECT", socket, log));
  return { server, stop: drain.stop };

  /** Answers synchronously where nothing must wait: liveness probes and visitors without a session. */
  function serve(
    request: IncomingMessage,
    response: ServerResponse,
    choose: (request: IncomingMessage, requestId: string) => Promise<Answer> | Answer = router.route,
  ): void {
    const started = performance.now();
    const requestId = randomUUID();
    drain.start(request);
    response.on("close", () => {
      drain.end(request);
      // 499: the client left before its answer. Source: nginx.
      const status = response.writableFinished ? response.statusCode : 499;
      const ms = Math.round((performance.now() - started) * 10) / 10;
      const { method = "" } = request;
      const path = loggedPath(request);
      metrics?.observe(method, router.routeName(path), status, ms / 1000);
      log.request({ requestId, method, path, status, ms, client: hashAddress(clientAddress(request)) });
    });
    const give = (answer: Answer) =>
      send(request, response, requestId, answer.status < 400 ? answer : inErrorShape(answer, requestId));
    const fail = (error: unknown) =>
      send(request, response, requestId, errorAnswer(asHttpError(error, requestId), requestId));
    try {
      const answer = choose(request, requestId);
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
    if (drain.isStopping()) headers.connection = "close";
    if (origin !== undefined && corsOrigins.has(origin)) {
      headers["access-control-allow-origin"] = origin;
      headers["access-control-allow-credentials"] = "true";
      headers["access-control-expose-headers"] = "set-auth-token, retry-after, x-retry-after, x-request-id";
    }
    const body = answer.body ?? "";
    if (answer.status !== 204) headers["content-length"] = Buffer.byteLength(body);
    if (response.headersSent || response.destroyed) return;
    response.writeHead(answer.status, headers);
    response.end(request.method === "HEAD" ? undefined : body);
    // Discards the unread rest of the body, so that the client reads the answer.
    if (request.method !== "GET") request.resume();
  }

  /** The part of `error` that the client may see. The log gets the rest. */
  function asHttpError(error: unknown, requestId: string): HttpError {
    if (error instanceof HttpError) return error;
    log.error({ err: error, requestId }, "request failed");
    return new HttpError(500, "INTERNAL_SERVER_ERROR", "the server has an internal error; its log has the request id");
  }
}

/** The path without its query, for the log. The link of a mail carries a token in its path. */
function loggedPath({ url = "/" }: IncomingMessage): string {
  const question = url.indexOf("?");
  const path = question < 0 ? url : url.slice(0, question);
  return path.includes("/reset-password/") ? path.replace(/(\/reset-password\/).*/, "$1:token") : path;
}

function expectationFailed(): never {
  throw new HttpError(417, "EXPECTATION_FAILED", "the only supported expectation is 100-continue");
}

/** Status of bytes that are not a valid request, by error code. The default is 400. */
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
