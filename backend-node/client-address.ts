/** The caller's network, from trusted headers alone, and its hash for logs. */
import { createHmac } from "node:crypto";
import type http from "node:http";
import net from "node:net";
import { sameText } from "./same-text.ts";

/** Header with the network for the library. A caller's copy of it is dropped. */
export const CLIENT_ADDRESS_HEADER = "x-auth-client-address";
/** Header with the request's id for the library's log lines. */
export const REQUEST_ID_HEADER = "x-request-id";
/** Header with TRUSTED_FRONT_SECRET, from a front end that rewrites to this server. */
const FRONT_SECRET_HEADER = "x-front-secret";

/**
 * A function that gives the network of a request's client, as `networkOf` spells it.
 *
 * The Hub's edge appends the address of its caller to X-Forwarded-For and keeps what that caller sent, so the last
 * entry counts, and only when the connection itself comes from a proxy's private address. Behind a front end that
 * rewrites to this server, that entry is the front end's for all its users. With `frontSecret` the entry before it counts.
 */
export function clientAddressReader(frontSecret: string | undefined): (request: http.IncomingMessage) => string {
  return ({ socket, headers }) => {
    const peer = (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    const forwarded = headers["x-forwarded-for"];
    if (forwarded === undefined || !isPrivate(peer)) return networkOf(peer) ?? "";
    const entries = String(forwarded).split(",");
    const last = networkOf(entries.pop() ?? "");
    const sent = headers[FRONT_SECRET_HEADER];
    if (frontSecret !== undefined && typeof sent === "string" && sameText(sent, frontSecret)) {
      const beforeLast = networkOf(entries.pop() ?? "");
      if (beforeLast !== undefined) return beforeLast;
    }
    return last ?? networkOf(peer) ?? "";
  };
}

/**
 * What an address counts as: IPv4 as it is, IPv6 as its /64, of which a household or a server has at least one
 * (RFC 6177). The result has a single spelling. Undefined for an invalid address.
 *
 * @param text an address as proxies write it: also with brackets, port, zone, quotes or blanks.
 */
export function networkOf(text: string): string | undefined {
  if (net.isIPv4(text)) return text;
  const bare = text
    .trim()
    .replace(/^"(.*)"$/, "$1")
    .replace(/^\[([^\]]*)\](:\d+)?$/, "$1")
    .replace(/^([\d.]+):\d+$/, "$1")
    .replace(/%.*$/, "");
  if (net.isIPv4(bare)) return bare;
  if (!net.isIPv6(bare)) return undefined;
  // The spelling of inet_ntop(3), where an IPv4 address may stand for the last two groups.
  const { address } = new net.SocketAddress({ address: bare, family: "ipv6" });
  const mapped = /^::ffff:([\d.]+)$/.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [left = [], right = []] = address
    .replace(/[\d.]+\.\d+$/, "0:0")
    .split("::")
    .map((side) => side.split(":").filter(Boolean));
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return `${groups.slice(0, 4).join(":")}::`;
}

/** A function that hashes addresses with `key`; it remembers the most recent ones. */
export function addressHasher(key: string): (address: string) => string {
  const known = new Map<string, string>();
  return (address) => {
    let hash = known.get(address);
    if (hash === undefined) {
      hash = createHmac("sha256", key).update(address).digest("hex").slice(0, 12);
      if (known.size >= 1_000) known.clear();
      known.set(address, hash);
    }
    return hash;
  };
}

const privateNetworks = new net.BlockList();
for (const [network, prefix] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["127.0.0.0", 8],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
] as const)
  privateNetworks.addSubnet(network, prefix);
privateNetworks.addSubnet("fc00::", 7, "ipv6");
privateNetworks.addAddress("::1", "ipv6");

let lastAsked = "";
let lastAnswer = false;

/** Caches the last peer: it is nearly always the proxy, and a lookup in the list takes as long as a short answer. */
function isPrivate(address: string): boolean {
  if (address !== lastAsked) {
    lastAsked = address;
    lastAnswer = privateNetworks.check(address, net.isIPv6(address) ? "ipv6" : "ipv4");
  }
  return lastAnswer;
}
