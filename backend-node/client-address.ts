/** Who is calling: the address that can be trusted, and its hash for logs and limits. */
import { createHmac } from "node:crypto";
import type http from "node:http";
import net from "node:net";

/** Carries the address to the library; a caller's own copy never gets that far. */
export const CLIENT_ADDRESS_HEADER = "x-auth-client-address";

/**
 * The address of the client.
 *
 * The Hub's edge appends the real address to X-Forwarded-For and keeps what the caller sent, so the last entry
 * counts, and only when the connection itself comes from a proxy's private address.
 */
export function clientAddress(request: http.IncomingMessage): string {
  const peer = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  const forwarded = request.headers["x-forwarded-for"];
  if (forwarded === undefined || !isPrivate(peer)) return peer;
  const last = String(forwarded).split(",").at(-1)?.trim() ?? "";
  return net.isIP(last) ? last : peer;
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

function isPrivate(address: string): boolean {
  return privateNetworks.check(address, net.isIPv6(address) ? "ipv6" : "ipv4");
}
