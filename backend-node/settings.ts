/**
 * The environment, checked once at start.
 *
 * `.env.example` declares every variable read here, with its meaning. A blank variable counts as unset,
 * because Compose passes `NAME=` for each variable that has no value.
 */
import {
  type DatabaseSetting,
  isServiceURL,
  loopbackTwin,
  originFault,
  PLAIN_HOSTS,
  readDatabase,
  strayFault,
} from "./settings-forms.ts";

export interface Settings {
  port: number;
  /** `0.0.0.0` in a container, loopback under `--dev`. */
  host: string;
  development: boolean;
  onTheHub: boolean;
  logLevel: string;
  secret: string;
  /** Public origin of this server, or of the front end that rewrites `/api/auth/*` to it. */
  baseURL: string;
  corsOrigins: string[];
  /** Every origin that may call `/api/auth/*`: `corsOrigins` and the server's own. */
  trustedOrigins: string[];
  database: DatabaseSetting;
  signUp: "open" | "closed" | "verified";
  cookieMode: "first-party" | "cross-site";
  adminUserIds: string[];
  /** In lower case, as the library stores addresses. */
  adminEmails: string[];
  /** Limits in seconds: without use, in total, until a sensitive change needs a new sign-in, and of a copy in a cookie. */
  sessions: { idle: number; greatestAge: number; fresh: number; cached: number };
  /** Whether each new password is checked at haveibeenpwned.com. */
  breachCheck: boolean;
  mail: { url: string; key: string; from: string } | undefined;
  social: Partial<Record<"huggingface" | "github" | "google", { clientId: string; clientSecret: string }>>;
  plugins: PluginName[];
  turnstileSecret: string | undefined;
  metricsToken: string | undefined;
  /** A host that rewrites `/api/auth/*` to this server sends it; the server then trusts the address that it forwards. */
  frontSecret: string | undefined;
}

/** The plugins of Better Auth that `PLUGINS` may name. */
const PLUGIN_NAMES = [
  "email-otp",
  "magic-link",
  "organization",
  "api-key",
  "device-authorization",
  "last-login-method",
  "multi-session",
] as const;
export type PluginName = (typeof PLUGIN_NAMES)[number];

/** The secret in `compose.yaml`, so that local use needs no `.env`. It is public, so it is refused on the Hub. */
const SAMPLE_SECRET = "sample-secret-for-this-machine-only-0123456789";
/** Better Auth's own fallback. Source: better-auth 1.7 `utils/constants.ts`. */
const LIBRARY_DEFAULT_SECRET = "better-auth-secret-12345678901234567890";

/** All faults of the environment. Each variable has a line, which starts with its name and never contains its value. */
export class SettingsError extends Error {
  readonly faults: string[];
  constructor(faults: string[]) {
    super(faults.join("\n"));
    this.faults = faults;
  }
}

/**
 * Reads and checks the environment.
 *
 * @param args command-line arguments; `--dev` allows any `NODE_ENV` and binds to loopback.
 * @throws SettingsError with all faults at once.
 */
export function readSettings(env: NodeJS.ProcessEnv, args: string[] = []): Settings {
  const faults: string[] = [];
  /** A single line for each variable: the first fault makes the others noise. */
  const fault = (name: string, text: string) => {
    if (!faults.some((line) => line.startsWith(`${name}: `))) faults.push(`${name}: ${text}`);
  };
  /** Without blanks, line breaks and byte order marks around it. */
  const read = (name: string): string | undefined => {
    const value = env[name]?.trim() || undefined;
    const stray = value && strayFault(value);
    if (stray) fault(name, stray);
    return stray ? undefined : value;
  };
  const choose = <T extends string>(name: string, choices: readonly T[], fallback: T): T => {
    const value = read(name) ?? fallback;
    if ((choices as readonly string[]).includes(value)) return value as T;
    fault(name, `must be one of ${choices.join(", ")}`);
    return fallback;
  };

  const list = (name: string): string[] =>
    (read(name) ?? "")
      .split(",")
      .map((entry) => entry.trim())
      .filter(Boolean);
  /** A whole number of units, in seconds. */
  const duration = (name: string, fallback: number, unit: number): number => {
    const text = read(name) ?? String(fallback);
    if (!/^[1-9]\d{0,4}$/.test(text)) fault(name, "must be a whole number from 1 to 99999");
    return Number(text) * unit;
  };

  const development = args.includes("--dev");
  // Better Auth starts with a public default secret, without limits, when NODE_ENV is not production, and
  // with its origin check off when TEST is set. Source: better-auth 1.7 `create-context.ts`, `env-impl.ts`.
  // It does not trim: NODE_ENV with a trailing blank is not production, and a blank TEST is set.
  if (env.NODE_ENV !== "production" && !development)
    fault("NODE_ENV", "must be exactly production; to develop, start with --dev");
  if (env.TEST) fault("TEST", "must be unset: it disables security checks of Better Auth");

  const onTheHub = read("SYSTEM") === "spaces";
  const secret = read("BETTER_AUTH_SECRET") ?? "";
  const makeSecret = "make one with `openssl rand -base64 32`";
  if (!secret) fault("BETTER_AUTH_SECRET", `missing; ${makeSecret}`);
  else if (secret.length < 32) fault("BETTER_AUTH_SECRET", `shorter than 32 characters; ${makeSecret}`);
  else if (new Set(secret).size < 10) fault("BETTER_AUTH_SECRET", `fewer than 10 different characters; ${makeSecret}`);
  else if (secret === LIBRARY_DEFAULT_SECRET || (onTheHub && secret === SAMPLE_SECRET))
    fault("BETTER_AUTH_SECRET", `a published sample value; ${makeSecret}`);

  const portText = read("PORT") ?? "7860";
  const port = Number(portText);
  if (!/^\d+$/.test(portText) || port > 65535) fault("PORT", "must be a number from 0 to 65535");

  const spaceHost = read("SPACE_HOST");
  const baseURL = read("BETTER_AUTH_URL") ?? (spaceHost ? `https://${spaceHost}` : `http://localhost:${port}`);
  const baseFault = originFault(baseURL);
  if (baseFault) fault("BETTER_AUTH_URL", baseFault);

  const corsOrigins = (read("CORS_ORIGINS") ?? "").split(",").map((entry) => entry.trim());
  if (corsOrigins.length === 1 && corsOrigins[0] === "") corsOrigins.pop();
  const wrong = corsOrigins.flatMap((entry, index) => {
    const entryFault = originFault(entry);
    return entryFault ? [`entry ${index + 1} ${entryFault}`] : [];
  });
  if (wrong.length > 0) fault("CORS_ORIGINS", wrong.join("; "));

  const database = readDatabase(read("DATABASE_URL"), (text) => fault("DATABASE_URL", text));
  const relay = read("DATABASE_WEBSOCKET");
  if (relay && !isServiceURL(relay, "ws"))
    fault("DATABASE_WEBSOCKET", `must be wss://host[:port]/path (${PLAIN_HOSTS})`);
  else if (relay && database.kind === "postgres") database.webSocket = { relay: new URL(relay) };

  const signUp = choose("SIGNUP", ["open", "closed", "verified"], "open");
  const cookieMode = choose("COOKIE_MODE", ["first-party", "cross-site"], "first-party");
  if (cookieMode === "cross-site" && baseURL.startsWith("http:"))
    fault("COOKIE_MODE", "cross-site needs an https BETTER_AUTH_URL: browsers refuse such a cookie over http");

  /** The values of variables that must be set together, or undefined when none is set. */
  const together = (...names: string[]): string[] | undefined => {
    const missing = names.filter((name) => !read(name));
    if (missing.length === names.length) return undefined;
    for (const name of missing) fault(name, `missing; set all of ${names.join(", ")}, or none`);
    return names.map((name) => read(name) ?? "");
  };
  const [mailURL = "", mailKey = "", mailFrom = ""] = together("MAIL_URL", "MAIL_KEY", "MAIL_FROM") ?? [];
  if (mailURL && !isServiceURL(mailURL, "http")) fault("MAIL_URL", `must be https://host[:port]/path (${PLAIN_HOSTS})`);
  if (signUp === "verified" && !mailURL && !read("MAIL_KEY") && !read("MAIL_FROM"))
    fault("MAIL_URL", "missing; SIGNUP=verified sends mail");
  const plugins = list("PLUGINS") as PluginName[];
  if (plugins.some((name) => !PLUGIN_NAMES.includes(name)))
    fault("PLUGINS", `must be a comma-separated list of ${PLUGIN_NAMES.join(", ")}`);
  const mailing = plugins.filter((name) => name === "email-otp" || name === "magic-link");
  if (mailing.length > 0 && !mailURL)
    fault("PLUGINS", `${mailing.join(", ")} sends mail; set MAIL_URL, MAIL_KEY and MAIL_FROM`);
  const social: Settings["social"] = {};
  for (const [provider, prefix] of [
    ["huggingface", "OAUTH"],
    ["github", "GITHUB"],
    ["google", "GOOGLE"],
  ] as const) {
    const client = together(`${prefix}_CLIENT_ID`, `${prefix}_CLIENT_SECRET`);
    if (client) social[provider] = { clientId: client[0] ?? "", clientSecret: client[1] ?? "" };
  }
  const adminEmails = list("ADMIN_EMAILS").map((address) => address.toLowerCase());
  if (adminEmails.some((address) => !/^[^@\s]+@[^@\s]+$/.test(address)))
    fault("ADMIN_EMAILS", "must be mail addresses, comma-separated");
  else if (adminEmails.length > 0 && !mailURL && Object.keys(social).length === 0)
    fault("ADMIN_EMAILS", "no address can be verified; set MAIL_URL, MAIL_KEY and MAIL_FROM, or a social sign-in");
  /** A secret that this server's owner chooses, or undefined when unset. */
  const readSecret = (name: string): string | undefined => {
    const value = read(name);
    if (value !== undefined && value.length < 16) fault(name, `shorter than 16 characters; ${makeSecret}`);
    return value;
  };
  const metricsToken = readSecret("METRICS_TOKEN");
  const frontSecret = readSecret("TRUSTED_FRONT_SECRET");

  const settings: Settings = {
    port,
    host: development ? "127.0.0.1" : "0.0.0.0",
    development,
    onTheHub,
    logLevel: choose("LOG_LEVEL", ["debug", "info", "warn", "error"], "info"),
    secret,
    baseURL,
    corsOrigins,
    trustedOrigins: [...new Set([baseURL, ...loopbackTwin(baseURL), ...corsOrigins])],
    database,
    signUp,
    cookieMode,
    adminUserIds: list("ADMIN_USER_IDS"),
    adminEmails,
    sessions: {
      idle: duration("SESSION_IDLE_HOURS", 168, 3600),
      greatestAge: duration("SESSION_MAX_HOURS", 720, 3600),
      fresh: duration("SESSION_FRESH_MINUTES", 60, 60),
      cached: read("SESSION_CACHE_SECONDS") ? duration("SESSION_CACHE_SECONDS", 1, 1) : 0,
    },
    breachCheck: choose("PASSWORD_BREACH_CHECK", ["off", "on"], "off") === "on",
    mail: mailURL ? { url: mailURL, key: mailKey, from: mailFrom } : undefined,
    social,
    plugins: [...new Set(plugins)],
    turnstileSecret: read("TURNSTILE_SECRET_KEY"),
    metricsToken,
    frontSecret,
  };
  if (faults.length > 0) throw new SettingsError(faults);
  return settings;
}
