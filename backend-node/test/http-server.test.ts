import assert from "node:assert/strict";
import net from "node:net";
import test, { after } from "node:test";
import { ORIGIN, PASSWORD, startServer, testSettings } from "./server.ts";

const server = await startServer();
after(server.close);

/** Sends bytes unchanged; returns the received bytes when the server closes or after `ms` of silence. */
function raw(bytes: string | Buffer, port = server.port, ms = 1500): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.end(bytes));
    socket.setTimeout(ms, () => socket.destroy());
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
  });
}

async function alive(): Promise<boolean> {
  return (await fetch(`${server.url}/health`)).status === 200;
}

const get = (path: string, headers = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\n`;
const post = (path: string, body: string, headers = "Content-Type: application/json\r\n") =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;

const AUTH_PATHS = [
  "/api/auth/sign-in/email",
  "/api/auth/sign-up/email",
  "/api/auth/get-session",
  "/api/auth/update-user",
];
const HOSTILE: Record<string, string[]> = {
  methods: [
    "TRACE",
    "PUT",
    "PATCH",
    "DELETE",
    "PROPFIND",
    "QUERY",
    "LINK",
    "get",
    "G\tT",
    "",
    "CONNECT",
    "SOURCE",
  ].flatMap((method) =>
    AUTH_PATHS.slice(0, 2).map((path) => `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`),
  ),
  hosts: ["a b", "a:99999", "", "[::1", "http://x", "x\u0000y", "é", "a,b", "..", "%00", "x".repeat(5000)].map(
    (host) => `GET /api/auth/ok HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
  ),
  targets: [
    "//api/auth/ok",
    "/api/auth//x",
    "/api/auth/%zz",
    "/api/auth/%00",
    "/api/auth/%2e%2e/%2e%2e/health",
    "/api/auth/../auth/ok",
    "/api/auth/ok/",
    "/api/auth/ok;x",
    "/api/auth/ok#x",
    "/api/auth/\\ok",
    "/api/auth/",
    "/api/auth",
    "/API/AUTH/OK",
    "*",
    "http://evil.example/api/auth/ok",
    "http://[/api/auth/ok",
    "https://",
    "http://a:b@c/api/auth/ok",
    "ok",
    "?x",
    "/?x=%",
    "/api/auth/get-session?disableRefresh=%zz",
    "/api/auth/get-session?disableCookieCache[]=1&disableCookieCache[]=2",
    "/api/auth/error?error=<script>alert(1)</script>",
    "/api/auth/callback/none?code=x&state=y",
    "/api/auth/reset-password/%2e%2e?callbackURL=https://evil.example",
    "/api/auth/verify-email?token=x.y.z&callbackURL=javascript:alert(1)",
    `/api/auth/${"a/".repeat(2000)}`,
    `/api/auth/ok?${"a=1&".repeat(2000)}`,
    "/__proto__",
    "/api/auth/__proto__",
    "/api/auth/constructor",
    "/api/auth/hasOwnProperty/toString",
  ].map((target) => get(target)),
  versions: ["HTTP/0.9", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP", "FTP/1.1", ""].map(
    (version) => `GET /api/auth/ok ${version}\r\n\r\n`,
  ),
  headers: [
    "X-Forwarded-Proto: a b\r\n",
    "X-Forwarded-Proto: https,http\r\n",
    "X-Forwarded-Proto: javascript\r\n",
    "X-Forwarded-Host: evil.example\r\n",
    "X-Forwarded-For: not an address\r\n",
    `X-Forwarded-For: ${"1.2.3.4, ".repeat(900)}5.6.7.8\r\n`,
    "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n",
    "X-Forwarded-For: ::ffff:1.2.3.4%eth0\r\n",
    "X-Auth-Client-Address: 1.2.3.4\r\n",
    "Authorization: Bearer\r\n",
    "Authorization: Bearer .\r\n",
    "Authorization: Bearer a.b.c.d\r\n",
    "Authorization: Bearer %\r\n",
    "Authorization: Bearer %zz.%zz\r\n",
    "Authorization: bEaReR x.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
    "Authorization: Basic Og==\r\n",
    "Authorization: \u00ff\u00fe\r\n",
    "Accept: \u00ff\r\n",
    "Accept-Language: %s%n\r\n",
    `User-Agent: $\{jndi:ldap://127.0.0.1/x}\r\n`,
    `User-Agent: ${"A".repeat(8000)}\r\n`,
    "Referer: https://evil.example/\r\n",
    "Referer: %\r\n",
    "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
    "Sec-Fetch-Site: nonsense\r\n",
    "Expect: 200-ok\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n",
    "Transfer-Encoding: nonsense\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 1e3\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Host: second\r\n",
    ": no name\r\n",
    "Na me: x\r\n",
    "X: a\r\n b\r\n",
    "X: \u0000\r\n",
    "__proto__: x\r\n",
    "constructor: x\r\n",
    `${Array.from({ length: 1500 }, (_, n) => `H${n}: x\r\n`).join("")}`,
    `X: ${"a".repeat(20_000)}\r\n`,
  ].flatMap((headers) => [get("/api/auth/ok", headers), get("/api/auth/get-session", headers)]),
  origins: [
    "null",
    "https://evil.example",
    `${ORIGIN}.evil.example`,
    `${ORIGIN}/`,
    `${ORIGIN}:443`,
    `${ORIGIN}.`,
    ORIGIN.toUpperCase(),
    ORIGIN.replace("https", "http"),
    `${ORIGIN}, https://evil.example`,
    "*",
    "file://",
    "\u00ff",
    " ",
  ].flatMap((origin) => [
    get("/api/auth/get-session", `Origin: ${origin}\r\n`),
    post("/api/auth/sign-in/email", "{}", `Content-Type: application/json\r\nOrigin: ${origin}\r\n`),
  ]),
  cookies: [
    "=",
    ";;;;",
    "a",
    "__Secure-better-auth.session_token",
    "__Secure-better-auth.session_token=",
    "__Secure-better-auth.session_token=.",
    "__Secure-better-auth.session_token=a.b.c",
    "__Secure-better-auth.session_token=%zz",
    "__Secure-better-auth.session_token=%00.%00",
    "__Secure-better-auth.session_token=a; __Secure-better-auth.session_token=b",
    "__Secure-better-auth.session_data=%7B%7D",
    "__Secure-better-auth.session_data=e30; __Secure-better-auth.session_token=x.y",
    "__Secure-better-auth.dont_remember=x",
    "__Secure-better-auth.two_factor=x.y",
    "__proto__=x; constructor=y",
    `x=${"y".repeat(9000)}`,
    Array.from({ length: 800 }, (_, n) => `c${n}=1`).join("; "),
    "\u00ff=\u00ff",
    'a="; b=c',
    "__Secure-better-auth.session_token='; DROP TABLE session; --",
  ].flatMap((cookie) => [
    get("/api/auth/get-session", `Cookie: ${cookie}\r\n`),
    post("/api/auth/sign-out", "", `Cookie: ${cookie}\r\nOrigin: ${ORIGIN}\r\n`),
  ]),
  bodies: [
    "",
    "{",
    "null",
    "[]",
    "0",
    '""',
    '"text"',
    "true",
    "{}",
    "undefined",
    "\ufeff{}",
    "\u0000",
    "NaN",
    '{"email":null,"password":null}',
    '{"email":[],"password":{}}',
    '{"email":{"$ne":null},"password":{"$ne":null}}',
    '{"email":"a@b.example","password":1}',
    '{"email":"a@b.example","email":"c@d.example","password":"x"}',
    `{"email":"${"a".repeat(60_000)}@b.example","password":"long enough"}`,
    `{"email":"a@b.example","password":"${"p".repeat(60_000)}"}`,
    `{"email":"a@b.example","password":"long enough","name":"${"n".repeat(50_000)}"}`,
    '{"email":"a\\u0000@b.example","password":"long enough","name":"x"}',
    '{"email":"\\ud800@b.example","password":"long enough","name":"\\ud800"}',
    '{"__proto__":{"role":"admin"},"email":"x","password":"long enough","name":"x"}',
    '{"constructor":{"prototype":{"role":"admin"}}}',
    '{"email":"\' OR 1=1 --","password":"\' OR 1=1 --"}',
    '{"email":"a@b.example","password":"long enough","callbackURL":"https://evil.example"}',
    '{"email":"a@b.example","password":"long enough","callbackURL":"//evil.example"}',
    '{"email":"a@b.example","password":"long enough","callbackURL":["x"]}',
    '{"name":{"toString":1},"image":{"a":1}}',
    `${"[".repeat(10_000)}${"]".repeat(10_000)}`,
    `${'{"a":'.repeat(8_000)}1${"}".repeat(8_000)}`,
    "1e999",
    "email=a&password=b",
    "\u00ff\u00fe{}",
  ].flatMap((body) => AUTH_PATHS.map((path) => post(path, body))),
  "content types": [
    "",
    "text/plain",
    "text/html",
    "application/xml",
    "application/json; charset=utf-7",
    "application/json, text/plain",
    "APPLICATION/JSON",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "json",
    "/",
    "\u00ff",
    ";",
  ].flatMap((type) => AUTH_PATHS.slice(0, 2).map((path) => post(path, "{}", `Content-Type: ${type}\r\n`))),
  framing: [
    "",
    "\r\n\r\n",
    "\u0016\u0003\u0001\u0002\u0000\u0001\u0000",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/1.1\nHost: x\n\n",
    "GET / HTTP/1.1\r\nHost: x\r\n",
    "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    `${get("/api/auth/ok").replace("Connection: close\r\n", "").repeat(20)}`,
  ],
};

const count = Object.values(HOSTILE).flat().length;
let address = 0;
assert(count >= 214, `the corpus holds ${count} inputs`);

for (const [kind, inputs] of Object.entries(HOSTILE))
  test(`must survive ${inputs.length} hostile ${kind}, without a 5xx or a stack`, async () => {
    for (const input of inputs) {
      // Each from a new address, so that no limit refuses it.
      const received = await raw(
        input.replace("Host: x\r\n", `Host: x\r\nX-Forwarded-For: 2001:db8::${++address}\r\n`),
      );
      const shown = JSON.stringify(input.slice(0, 120));
      assert.doesNotMatch(received, /HTTP\/1\.1 5/, `${shown} got ${received.slice(0, 300)}`);
      assert.doesNotMatch(received, /\bat .*\.(ts|js|mjs):\d|node_modules|SQLITE|ECONN/, `${shown} got ${received}`);
      const status = /^HTTP\/1\.1 (\d+)/.exec(received)?.[1];
      if (status && status >= "400" && !input.startsWith("HEAD"))
        assert.match(received, /\{"code":"[A-Z_]+","message":"[^"]*(\\"[^"]*)*","requestId":"[\w-]{36}"\}/, shown);
    }
    assert(await alive());
  });

for (const [what, head] of Object.entries({
  "without a version": "GET /health",
  "without a version, on a call": "GET /api/auth/ok",
  "with version 0.9": "GET /health HTTP/0.9",
  "with version 2.0": "GET /api/auth/get-session HTTP/2.0",
}))
  test(`must refuse a request line ${what}`, async () => {
    const received = await raw(`${head}\r\nHost: x\r\n\r\n`);
    assert.match(received, /^HTTP\/1\.1 400 /);
    assert.match(received, /^connection: close/im);
  });

for (const path of ["/health", "/api/auth/get-session", "/api/auth/ok", "/"])
  test(`must refuse two Host headers on ${path}`, async () => {
    for (const second of ["Host: x", "hOST: y", "Host:"]) {
      const received = await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n${second}\r\n\r\n`);
      assert.match(received, /^HTTP\/1\.1 400 /, second);
    }
    assert.match(await raw(get(path)), /^HTTP\/1\.1 200 /, "a single Host header must be accepted");
  });

test("must answer 408 to a body that does not arrive", { timeout: 15_000 }, async () => {
  const started = Date.now();
  const received = await new Promise<string>((resolve) => {
    let text = "";
    const socket = net.connect(server.port, "127.0.0.1", () => {
      socket.write("POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    });
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("close", () => resolve(text));
  });
  assert.match(received, /^HTTP\/1\.1 408 /);
  assert(Date.now() - started < 13_000);
});

test("must accept JSON as text/plain across sites only with the setting, and only from a listed origin", async () => {
  const crossSite = await startServer(testSettings({ COOKIE_MODE: "cross-site" }));
  const send = async (url: string, origin?: string) => {
    const headers = { "content-type": "text/plain", ...(origin && { origin }) };
    const body = JSON.stringify({ name: "Ada", email: "ada@example.com", password: PASSWORD });
    return fetch(`${url}/api/auth/sign-up/email`, { method: "POST", headers, body });
  };
  assert.equal((await send(server.url, ORIGIN)).status, 415);
  assert.equal((await send(crossSite.url)).status, 415);
  const answer = await send(crossSite.url, ORIGIN);
  assert.equal(answer.status, 200);
  const cookie = answer.headers.getSetCookie().join();
  assert.match(cookie, /^__Secure-/);
  for (const attribute of ["Secure", "HttpOnly", "SameSite=None", "Partitioned", "Path=/"])
    assert(cookie.includes(attribute), attribute);
  await crossSite.close();
});
