/**
 * The cookie of a device that has signed in to an account before. Strangers' guesses do not make the device wait.
 *
 * Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies". It holds no name, and is valid only
 * for guesses at its account.
 */
import { createHmac, randomBytes } from "node:crypto";
import { sameText } from "./same-text.ts";

export const DEVICE_COOKIE = "device";
export const DEVICE_COOKIE_MAX_AGE = 180 * 24 * 3600;

/** The value of the cookie for a device that has signed in to `account`. */
export function deviceMark(secret: string, account: string, device = randomBytes(12).toString("base64url")): string {
  const signature = createHmac("sha256", secret).update(`device ${device} ${account}`).digest("base64url");
  return `${device}.${signature}`;
}

/** The device that `mark` was made for, if it was made for `account`. */
export function knownDevice(secret: string, account: string, mark: string | null | undefined): string | undefined {
  const [device = ""] = (mark ?? "").split(".");
  return mark && sameText(mark, deviceMark(secret, account, device)) ? device : undefined;
}
