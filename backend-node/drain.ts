/**
 * The end of a server's connections without losing a request.
 *
 * Node's `close` ends idle connections at once, which cuts a request in transit, and serves busy connections as long as
 * their clients like. Here each answer after the signal says `Connection: close`, and a connection
 * ends after a moment of silence. The server accepts new connections until then, because the system has accepted some
 * already, and a close would cut them.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";

/** The next request of a client that was just answered arrives within this time. */
const QUIET_MS = 250;
/** The first request of a new connection arrives within this time, or the rest of one that is not here as a whole. */
const STALLED_MS = 1_000;
const CHECK_EVERY_MS = 20;
/** A client that was answered `Connection: close` has connected anew by then. */
const RECONNECT_MS = 10;

interface Connection {
  /** The pending request. */
  request: IncomingMessage | undefined;
  /** Bytes received at the last check, and its time. */
  bytes: number;
  since: number;
}

export function createDrain(server: Server) {
  const connections = new Map<Socket, Connection>();
  let stopping = false;
  let accepted = 0;
  let lastAnswer = 0;

  server.on("connection", (socket) => {
    accepted++;
    connections.set(socket, { request: undefined, bytes: 0, since: performance.now() });
    socket.on("close", () => connections.delete(socket));
  });

  const check = () => {
    const now = performance.now();
    for (const [socket, connection] of connections) {
      if (socket.bytesRead !== connection.bytes) {
        connection.bytes = socket.bytesRead;
        connection.since = now;
      }
      const { request, bytes, since } = connection;
      if (request?.complete) continue;
      if (now - since >= (request === undefined && bytes > 0 ? QUIET_MS : STALLED_MS)) socket.destroy();
    }
  };

  /**
   * Resolves, within a second, when the socket can close. A close cuts connections that the system has accepted and the
   * event loop has not. Each turn accepts one, so after a turn without a connection none waits. The turn must be short,
   * or new ones arrive during it.
   */
  const momentWithoutNewConnections = async () => {
    const deadline = performance.now() + 1_000;
    for (;;) {
      await delay(1);
      const before = accepted;
      const started = performance.now();
      await nextTurn();
      const now = performance.now();
      const none = accepted === before && now - started < 1 && now - lastAnswer > RECONNECT_MS;
      if (none || now > deadline) return;
    }
  };

  return {
    isStopping: () => stopping,

    /** The connection of a request is busy until its answer is out. */
    start: (request: IncomingMessage): void => {
      const connection = connections.get(request.socket);
      if (connection) connection.request = request;
    },

    end: (request: IncomingMessage): void => {
      const connection = connections.get(request.socket);
      if (connection?.request !== request) return;
      connection.request = undefined;
      connection.bytes = request.socket.bytesRead;
      connection.since = lastAnswer = performance.now();
    },

    /** Resolves when the last connection has ended. */
    stop: async (): Promise<void> => {
      stopping = true;
      // Runs after the event loop has read all received bytes, however long the previous turn took.
      await nextTurn();
      check();
      // The others were busy a moment ago; their next request may be on its way.
      for (const connection of connections.values()) connection.since = performance.now();
      const checking = setInterval(() => setImmediate(check), CHECK_EVERY_MS);
      await delay(QUIET_MS);
      await momentWithoutNewConnections();
      await new Promise((resolve) => server.close(resolve));
      clearInterval(checking);
    },
  };
}
