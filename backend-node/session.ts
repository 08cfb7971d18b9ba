/**
 * `GET get-session` on a short path: the cookie's signature by one HMAC, the session by the library's own look-up.
 *
 * The library's way through its router, hooks and validation costs several times as much for the same answer, and
 * this is the call that every page of a front end makes. `test/session.test.ts` compares the two byte for byte.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { AuthContext } from "better-auth";

/** What the reader needs of the library's context. */
type Context = Pick<AuthContext, "authCookies" | "internalAdapter" | "sessionConfig">;

/** A function from the request's headers to the body, or to undefined where the library must answer itself. */
export function sessionReader(context: Context, secret: string) {
  const { sessionToken, sessionData, dontRememberToken } = context.authCookies;
  const { expiresIn, updateAge } = context.sessionConfig;

  return async (cookie: string | undefined, authorization: string | undefined): Promise<string | undefined> => {
    let signed: string | undefined;
    if (authorization !== undefined) {
      signed = /^bearer (\S+)$/i.exec(authorization)?.[1];
      // Junk is ignored by the library, which then looks for a cookie.
      if (!signed || signed.includes("%") || !verified(signed, secret)) return undefined;
    } else {
      if (cookie === undefined) return "null";
      const values = cookieValues(cookie, sessionToken.name);
      if (values.length === 0 && !cookie.includes(sessionData.name)) return "null";
      // Which of two wins, and what becomes of these other cookies, is the library's matter.
      if (values.length !== 1 || cookie.includes(sessionData.name) || cookie.includes(dontRememberToken.name))
        return undefined;
      signed = decoded(values[0] ?? "");
    }
    const token = verified(signed, secret);
    if (token === undefined) return "null";
    const found = await context.internalAdapter.findSession(token);
    if (!found) return undefined;
    const expires = found.session.expiresAt.valueOf();
    const refreshFrom = expires - (expiresIn - updateAge) * 1000;
    if (Date.now() >= Math.min(expires, refreshFrom)) return undefined;
    return JSON.stringify(found);
  };
}

/** A session's token with its signature, as a bearer sends it; undefined when it was not signed with `secret`. */
export function signedToken(authorization: string | null | undefined, secret: string): string | undefined {
  const given = /^bearer (.+)$/i.exec(authorization ?? "")?.[1]?.trim() ?? "";
  const signed = given.includes("%") ? decoded(given) : given;
  return verified(signed, secret) === undefined ? undefined : signed;
}

/** The token in front of a signature that this secret made. */
function verified(signed: string, secret: string): string | undefined {
  const dot = signed.lastIndexOf(".");
  if (dot < 1) return undefined;
  const token = signed.slice(0, dot);
  const given = Buffer.from(signed.slice(dot + 1), "base64");
  const expected = createHmac("sha256", secret).update(token).digest();
  return given.length === expected.length && timingSafeEqual(given, expected) ? token : undefined;
}

function cookieValues(header: string, name: string): string[] {
  return header.split(";").flatMap((pair) => {
    const equals = pair.indexOf("=");
    return equals > 0 && pair.slice(0, equals).trim() === name ? [pair.slice(equals + 1).trim()] : [];
  });
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
