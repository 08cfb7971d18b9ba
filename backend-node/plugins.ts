/** The plugins of Better Auth that this server has. */
import { passkey } from "@better-auth/passkey";
import type { BetterAuthPlugin } from "better-auth";
import { admin } from "better-auth/plugins/admin";
import { bearer } from "better-auth/plugins/bearer";
import { jwt } from "better-auth/plugins/jwt";
import { twoFactor } from "better-auth/plugins/two-factor";
import { username } from "better-auth/plugins/username";
import { passwordRules } from "./password-rules.ts";
import type { Settings } from "./settings.ts";

export async function createPlugins(settings: Settings): Promise<BetterAuthPlugin[]> {
  const plugins = [
    // Without a signature, whoever reads the session table is signed in as everybody.
    bearer({ requireSignature: true }),
    jwt({
      // Signed when asked for at /token, not at every look at a session.
      disableSettingJwtHeader: true,
      jwt: {
        issuer: settings.baseURL,
        audience: settings.baseURL,
        expirationTime: "15m",
        definePayload: ({ user }) => ({ email: user.email, email_verified: user.emailVerified, name: user.name }),
      },
    }),
    username(),
    admin({ adminUserIds: settings.adminUserIds }),
    twoFactor({ issuer: new URL(settings.baseURL).host }),
    passwordRules(settings),
    passkey({ rpName: "backend-node", rpID: new URL(settings.baseURL).hostname, origin: settings.trustedOrigins }),
  ] as BetterAuthPlugin[];
  // The document of all routes, and a page to try them, are for development alone.
  if (settings.development) plugins.push((await import("better-auth/plugins")).openAPI());
  return plugins;
}
