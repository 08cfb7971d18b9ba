// A Space in one file: replace it by your own server, and keep what it promises.
const http = require("node:http");

const PORT = 7860;
const settings = readSettings();

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://space");
  allowOrigin(request, response);
  if (request.method === "OPTIONS") return answer(response, 204);
  const routes = {
    "/": () => ({ greeting: settings.greeting }),
    "/health": () => ({ status: "ok" }),
    "/ready": () => ({ status: "ok" }),
  };
  if (!(pathname in routes)) return answer(response, 404, { error: "not found" });
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD, OPTIONS");
    return answer(response, 405, { error: "method not allowed" });
  }
  answer(response, 200, routes[pathname]());
});

// Listens on every address: the Hub reaches the container from outside.
server.listen(PORT, "0.0.0.0", () => console.log(`listening on ${PORT}`));
// The Hub stops a container by SIGTERM; requests in flight finish first.
process.on("SIGTERM", () => server.close(() => process.exit(0)));

/** All faulty variables are named at once, and no value is printed. */
function readSettings() {
  const faults = [];
  const greeting = (process.env.GREETING ?? "").trim();
  if (!greeting) faults.push("GREETING: missing; enter it as a Variable");
  const origins = (process.env.CORS_ORIGINS ?? "").split(",").map((o) => o.trim()).filter(Boolean);
  if (origins.some((origin) => !isOrigin(origin))) {
    faults.push("CORS_ORIGINS: must be origins like https://front.example.app, comma-separated");
  }
  if (faults.length) {
    console.error(faults.join("\n"));
    process.exit(78);
  }
  return { greeting, origins: new Set(origins) };
}

function isOrigin(text) {
  return URL.canParse(text) && new URL(text).origin === text;
}

/** Exact origins: an echo of any origin would open the Space to every site. */
function allowOrigin(request, response) {
  const { origin } = request.headers;
  response.setHeader("Vary", "Origin");
  if (!settings.origins.has(origin)) return;
  response.setHeader("Access-Control-Allow-Origin", origin);
  response.setHeader("Access-Control-Allow-Methods", "GET, HEAD");
  response.setHeader("Access-Control-Allow-Headers", "Content-Type");
}

function answer(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json", "X-Content-Type-Options": "nosniff" });
  response.end(body && JSON.stringify(body));
}
