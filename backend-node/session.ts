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

/**
 * A function from the request's headers to the body, or to undefined where the library must answer itself.
 *
 * @param cached whether the library gives out copies of the session in a second cookie (SESSION_CACHE_SECONDS).
 */
export function sessionReader(context: Context, secret: string, cached: boolean) {
  const { sessionToken, sessionData, dontRememberToken } = context.authCookies;
  const { expiresIn, updateAge } = context.sessionConfig;

  /** Cookie headers with a verified copy, so that a polling page does not cost two HMACs each time. */
  const checked = new Map<string, Copy>();

  return async (cookie: string | undefined, authorization: string | undefined): Promise<string | undefined> => {
    let signed: string | undefined;
    if (authorization !== undefined) {
      signed = /^bearer (\S+)$/i.exec(authorization)?.[1];
      // Junk is ignored by the library, which then looks for a cookie.
      if (!signed || signed.includes("%") || !verified(signed, secret)) return undefined;
    } else {
      if (cookie === undefined) return "null";
      const known = checked.get(cookie);
      if (known && Date.now() < known.until) return known.body;
      const values = cookieValues(cookie, sessionToken.name);
      const hasCopy = cookie.includes(sessionData.name);
      if (values.length === 0 && !hasCopy) return "null";
      // The library decides between two cookies, and about this other cookie.
      if (values.length !== 1 || cookie.includes(dontRememberToken.name)) return undefined;
      signed = decoded(values[0] ?? "");
      if (cached || hasCopy) {
        const copies = cookieValues(cookie, sessionData.name);
        if (!cached || copies.length !== 1) return undefined;
        const copy = readCopy(copies[0] ?? "", verified(signed, secret), secret);
        if (copy === undefined || !(Date.now() < copy.until)) return undefined;
        if (checked.size >= MOST_CHECKED) checked.clear();
        checked.set(cookie, copy);
        return copy.body;
      }
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

const MOST_CHECKED = 500;

/** The answer from the library's signed copy of a session, and its end in milliseconds. */
interface Copy {
  body: string;
  until: number;
}

/** The copy, if `secret` signed it and it is of the session of `token`. */
function readCopy(copy: string, token: string | undefined, secret: string): Copy | undefined {
  try {
    const { session: content, expiresAt, signature } = JSON.parse(Buffer.from(copy, "base64url").toString());
    const { session, user } = content;
    const good = sameSignature(signature, JSON.stringify({ ...content, expiresAt }), secret) && session.token === token;
    const until = Math.min(expiresAt, Date.parse(session.expiresAt));
    return good ? { body: JSON.stringify({ session, user }), until } : undefined;
  } catch {
    return undefined;
  }
}

/** A session's token with its signature, as a bearer sends it; undefined when it was not signed with `secret`. */
export function signedToken(authorization: string | null | undefined, secret: string): string | undefined {
  const given = /^bearer (.+)$/i.exec(authorization ?? "")?.[1]?.trim() ?? "";
  const signed = given.includes("%") ? decoded(given) : given;
  return verified(signed, secret) === undefined ? undefined : signed;
}

/** The token before a valid signature of this secret. */
function verified(signed: string, secret: string): string | undefined {
  const dot = signed.lastIndexOf(".");
  if (dot < 1) return undefined;
  const token = signed.slice(0, dot);
  return sameSignature(signed.slice(dot + 1), token, secret) ? token : undefined;
}

function sameSignature(signature: string, text: string, secret: string): boolean {
  const given = Buffer.from(signature, "base64");
  const expected = createHmac("sha256", secret).update(text).digest();
  return given.length === expected.length && timingSafeEqual(given, expected);
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
