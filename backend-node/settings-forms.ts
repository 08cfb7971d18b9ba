/** Checks the form of a setting. A fault describes the value and never contains it. */
import { accessSync, constants, existsSync, mkdirSync } from "node:fs";
import path from "node:path";

export type DatabaseSetting =
  | { kind: "sqlite"; file: string }
  | { kind: "postgres"; url: string; webSocket: WebSocketRelay | undefined };

/** Set for Postgres over a WebSocket. `relay` is undefined for Neon, whose hosts accept WebSockets themselves. */
export interface WebSocketRelay {
  relay: URL | undefined;
}

/** The fault of a value with quotes or invisible characters around or in it, as pasted text often has. */
export function strayFault(value: string): string | undefined {
  if (/^(["'`]).*\1$/s.test(value)) return "is in quotes; enter it without them";
  if (/[\p{Cc}\p{Cf}]/u.test(value)) return "contains a line break or an invisible character; type it again";
  return undefined;
}

/** The fault of `text` as an `Origin` that a browser sends. Plain http is valid only on loopback. */
export function originFault(text: string): string | undefined {
  const form = "an origin is https://host[:port]";
  if (text.includes("*")) return `has a wildcard; each origin must be exact: ${form}`;
  if (!URL.canParse(text) || !/^https?:\/\//i.test(text)) return `is not an origin; ${form}`;
  const { origin, protocol, hostname } = new URL(text);
  if (text.toLowerCase() === `${origin}/`) return "has a slash at its end; remove it, as a browser sends none";
  if (!text.toLowerCase().startsWith(origin) || /[/?#]/.test(text.slice(origin.length)))
    return `has more than host and port; ${form}`;
  if (protocol === "http:" && hostname !== "localhost" && hostname !== "127.0.0.1")
    return "is plain http, which exposes passwords; write https, as the Hub serves it (http only for localhost)";
  return text === origin
    ? undefined
    : "differs from what a browser sends; write it in lower case, without the usual port";
}

export const PLAIN_HOSTS = "without TLS only for localhost or a name without dots, as in a Compose network";

/** `scheme` over TLS, or without it where no foreign network is crossed. */
export function isServiceURL(text: string, scheme: "http" | "ws"): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return (
    protocol === `${scheme}s:` || (protocol === `${scheme}:` && (hostname === "127.0.0.1" || !hostname.includes(".")))
  );
}

/** A local server has two names, localhost and 127.0.0.1. For a browser these are two origins. */
export function loopbackTwin(origin: string): string[] {
  if (origin.startsWith("http://localhost")) return [origin.replace("localhost", "127.0.0.1")];
  if (origin.startsWith("http://127.0.0.1")) return [origin.replace("127.0.0.1", "localhost")];
  return [];
}

export function readDatabase(url: string | undefined, fault: (text: string) => void): DatabaseSetting {
  const nothing: DatabaseSetting = { kind: "sqlite", file: "" };
  if (!url) {
    fault("missing; set postgres://user:password@host/name, or sqlite:/home/node/auth.db for the embedded database");
    return nothing;
  }
  if (url.startsWith("sqlite:")) {
    const file = url.slice("sqlite:".length);
    if (!path.isAbsolute(file) || file.endsWith("/")) {
      fault("sqlite: needs the absolute path of a file, for example sqlite:/home/node/auth.db");
      return nothing;
    }
    const folder = path.dirname(file);
    try {
      makeFolder(folder);
      accessSync(folder, constants.W_OK);
    } catch {
      fault(`uid ${process.getuid?.()} cannot write to the folder ${folder}; choose a writable folder, or mount one`);
    }
    return { kind: "sqlite", file };
  }
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^postgres(ql)?:$/.test(parsed.protocol) || !parsed.hostname || parsed.pathname.length < 2)
    fault("must be postgres://user:password@host[:port]/name or sqlite:/absolute/path.db");
  // Neon's hosts accept WebSockets themselves. Source: neondatabase/serverless README.
  return {
    kind: "postgres",
    url,
    webSocket: parsed?.hostname.endsWith(".neon.tech") ? { relay: undefined } : undefined,
  };
}

/** One level at a time: `mkdirSync(…, { recursive: true })` never returns on a file system that answers ENOENT, such as /proc. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(path.dirname(folder));
  mkdirSync(folder);
}
