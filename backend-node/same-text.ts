import { hash, timingSafeEqual } from "node:crypto";

/** Whether a caller's secret is the right one; how long it takes does not tell how much of it is. */
export function sameText(given: string, expected: string): boolean {
  const digest = (text: string) => hash("sha256", text, "buffer");
  return timingSafeEqual(digest(given), digest(expected));
}
