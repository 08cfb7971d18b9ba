/** Allows redirects only to trusted origins, for the input of a call and for the library's answer. */

/** Members of bodies and queries that the library redirects to, or hands to its client for that. */
export const REDIRECT_FIELDS = ["callbackURL", "redirectTo", "errorCallbackURL", "newUserCallbackURL"] as const;

/**
 * Whether a browser on `base` that follows `location` stays on one of `origins`.
 *
 * The library accepts `/..//host`, normalises it, and sends `//host`, which is another host. Resolved here as browsers
 * do (WHATWG URL), with dot segments, backslashes and control characters in all encodings that they know. A resolved path
 * that starts with two slashes, encoded or not, is refused too: a second parser reads a host from it.
 */
export function staysHere(location: string, base: string, origins: ReadonlySet<string>): boolean {
  const readings = [location, location.replace(/%2f/gi, "/").replace(/%5c/gi, "\\")];
  return readings.every((reading) => {
    if (!URL.canParse(reading, base)) return false;
    const { origin, pathname } = new URL(reading, base);
    return origins.has(origin) && !pathname.startsWith("//");
  });
}
