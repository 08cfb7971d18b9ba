import assert from "node:assert/strict";
import net from "node:net";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { PASSWORD, startServer } from "./server.ts";

const HEALTH = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const BODY = JSON.stringify({ email: "stranger@example.com", password: PASSWORD });
const SIGN_IN = `POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n`;

/** A connection that stores received bytes and the time of its end. */
async function connect(port: number) {
  const socket = net.connect(port, "127.0.0.1");
  const connection = { socket, received: "", ended: Number.POSITIVE_INFINITY };
  socket.on("data", (chunk) => {
    connection.received += chunk;
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    connection.ended = performance.now();
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  return connection;
}

const answered = async (connection: { received: string }, times = 1) => {
  for (
    const deadline = performance.now() + 5_000;
    connection.received.split("HTTP/1.1 ").length <= times;
    await delay(2)
  )
    assert(performance.now() < deadline, `no answer, but ${connection.received}`);
};

test("must end idle connections at once, and all others after their answer", { timeout: 10_000 }, async (context) => {
  const server = await startServer();
  context.after(server.close);
  const [idle, soon, busy, uploading, stalled, unused] = await Promise.all(
    Array.from({ length: 6 }, () => connect(server.port)),
  );
  assert(idle && soon && busy && uploading && stalled && unused);
  for (const connection of [idle, soon]) {
    connection.socket.write(HEALTH);
    await answered(connection);
  }
  // Longer than the time that an idle connection gets.
  await delay(300);
  busy.socket.write(SIGN_IN + BODY);
  uploading.socket.write(SIGN_IN + BODY.slice(0, 5));
  stalled.socket.write(SIGN_IN + BODY.slice(0, 5));
  soon.socket.write(HEALTH);
  await answered(soon, 2);

  const began = performance.now();
  const stopped = server.stop();
  // In transit at the signal.
  soon.socket.write(HEALTH);
  const late = await connect(server.port);
  late.socket.write(HEALTH);
  uploading.socket.write(BODY.slice(5));
  await stopped;
  const seconds = (performance.now() - began) / 1000;
  await delay(10);

  assert(idle.ended < stalled.ended - 500, "an idle connection must not wait for others");
  assert(unused.ended < Number.POSITIVE_INFINITY, "a connection without a request must end too");
  for (const [name, { received }, status] of [
    ["on its way", soon, 200],
    ["new", late, 200],
    ["in flight", busy, 401],
    ["half sent", uploading, 401],
  ] as const) {
    const last = received.slice(received.lastIndexOf("HTTP/1.1 "));
    assert.match(last, new RegExp(`^HTTP/1.1 ${status} `), name);
    assert.match(last, /^connection: close\r$/im, name);
  }
  assert.equal(stalled.received, "", "a request without its body must get no answer");
  assert(seconds < 2, `it took ${seconds} s`);
});
