/** Where a browser is sent: nowhere but to a trusted origin, whatever the library was given and has made of it. */

/** Members of bodies and queries that the library redirects to, or hands to its client for that. */
export const REDIRECT_FIELDS = ["callbackURL", "redirectTo", "errorCallbackURL", "newUserCallbackURL"] as const;

/**
 * Whether a browser on `base` that follows `location` stays on one of `origins`.
 *
 * The library accepts `/..//host`, normalises it, and sends `//host`, which is another host. Resolved here as browsers
 * do (WHATWG URL), with dot segments, backslashes and control characters in all encodings that they know; a path that
 * comes to begin with two slashes is refused as well, because a second reader would take it for a host.
 */
export function staysHere(location: string, base: string, origins: ReadonlySet<string>): boolean {
  if (!URL.canParse(location, base)) return false;
  const { origin, pathname } = new URL(location, base);
  return origins.has(origin) && !/^[/\\]{2}/.test(pathname.replace(/%2f/gi, "/").replace(/%5c/gi, "\\"));
}
