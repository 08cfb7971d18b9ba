/** The plugins of Better Auth that this server has. */
import { passkey } from "@better-auth/passkey";
import type { BetterAuthPlugin } from "better-auth";
import { bearer } from "better-auth/plugins/bearer";
import { jwt } from "better-auth/plugins/jwt";
import { twoFactor } from "better-auth/plugins/two-factor";
import { username } from "better-auth/plugins/username";
import { administrators } from "./administrators.ts";
import type { Mailer } from "./mail.ts";
import { optionalPlugins } from "./optional-plugins.ts";
import { passwordRules } from "./password-rules.ts";
import { codesOnce } from "./second-factor.ts";
import { sessionLimits } from "./session-limits.ts";
import type { Settings } from "./settings.ts";

export async function createPlugins(settings: Settings, mailer: Mailer | undefined): Promise<BetterAuthPlugin[]> {
  const plugins = [
    // Without a signature, a reader of the session table could sign in as any user.
    bearer({ requireSignature: true }),
    jwt({
      // /token signs on request, instead of every session lookup.
      disableSettingJwtHeader: true,
      jwt: {
        issuer: settings.baseURL,
        audience: settings.baseURL,
        expirationTime: "15m",
        definePayload: ({ user }) => ({ email: user.email, email_verified: user.emailVerified, name: user.name }),
      },
    }),
    username(),
    ...administrators(settings),
    twoFactor({ issuer: new URL(settings.baseURL).host }),
    codesOnce,
    sessionLimits(settings),
    passwordRules(settings),
    passkey({ rpName: "backend-node", rpID: new URL(settings.baseURL).hostname, origin: settings.trustedOrigins }),
  ] as BetterAuthPlugin[];
  plugins.push(...(await optionalPlugins(settings, mailer)));
  // The document of all routes, and a page to try them, are for development alone.
  if (settings.development) plugins.push((await import("better-auth/plugins")).openAPI());
  return plugins;
}
