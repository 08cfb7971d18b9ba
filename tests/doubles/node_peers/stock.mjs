#!/usr/bin/env node
/**
 * Better Auth as documented: the library's handler on a bare server or on Hono, with the default hash.
 * ADAPTER=node or hono. PLUGINS=all adds backend-node's plugins with their defaults.
 */
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { serve } from "@hono/node-server";
import { passkey } from "@better-auth/passkey";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { admin, bearer, jwt, twoFactor, username } from "better-auth/plugins";
import { Hono } from "hono";

const options = {
  baseURL: "https://auth.example",
  secret: "secret-of-a-stock-server-Xw7pQz2mN8rT4vB6yK1s",
  database: new DatabaseSync("/tmp/auth.db"),
  emailAndPassword: { enabled: true },
  // Switched on, it would limit the single address of the load.
  rateLimit: { enabled: false },
  plugins: process.env.PLUGINS === "all" ? [bearer(), jwt(), username(), admin(), twoFactor(), passkey()] : [],
};
await (await getMigrations(options)).runMigrations();
const auth = betterAuth(options);
const HEALTH = '{"status":"ok"}';

if (process.env.ADAPTER === "hono") {
  const app = new Hono();
  app.get("/health", (c) => c.body(HEALTH, 200, { "content-type": "application/json" }));
  app.on(["GET", "POST"], "/api/auth/*", (c) => auth.handler(c.req.raw));
  serve({ fetch: app.fetch, port: 7860 });
} else {
  const handle = toNodeHandler(auth);
  const headers = { "content-type": "application/json", "content-length": HEALTH.length };
  createServer((request, response) => {
    if (request.url === "/health") response.writeHead(200, headers).end(HEALTH);
    else handle(request, response);
  }).listen(7860);
}
