import { hash, timingSafeEqual } from "node:crypto";

/** Whether a caller's secret is right. The time does not reveal how much of it is right. */
export function sameText(given: string, expected: string): boolean {
  const digest = (text: string) => hash("sha256", text, "buffer");
  return timingSafeEqual(digest(given), digest(expected));
}
