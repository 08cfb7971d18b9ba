/**
 * The plugins of Better Auth that a setting turns on, each imported only when on, so that the others cost nothing at start.
 *
 * README.md shows the client's side of each.
 */
import type { BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import type { Mailer } from "./mail.ts";
import type { PluginName, Settings } from "./settings.ts";

/** The plugins that `PLUGINS` names, and the captcha if its key is set. */
export async function optionalPlugins(settings: Settings, mailer: Mailer | undefined): Promise<BetterAuthPlugin[]> {
  const plugins = await Promise.all(settings.plugins.map((name) => PLUGINS[name](settings, mailer)));
  if (settings.turnstileSecret) plugins.push(await turnstile(settings.turnstileSecret));
  return plugins;
}

const PLUGINS: Record<PluginName, (settings: Settings, mailer: Mailer | undefined) => Promise<BetterAuthPlugin>> = {
  "email-otp": async (settings, mailer) => {
    const { emailOTP } = await import("better-auth/plugins/email-otp");
    return emailOTP({
      disableSignUp: settings.signUp === "closed",
      storeOTP: "hashed",
      sendVerificationOTP: async ({ email, otp, type }, ctx) => {
        if (type === "sign-in" && (await hasSecondFactor(email, ctx))) mailer?.send(email, ...PASSWORD_NEEDED);
        else mailer?.send(email, "Your code", `Enter this code within five minutes:\n\n${otp}\n`);
      },
    });
  },

  "magic-link": async (settings, mailer) => {
    const { magicLink } = await import("better-auth/plugins/magic-link");
    return magicLink({
      disableSignUp: settings.signUp === "closed",
      storeToken: "hashed",
      sendMagicLink: async ({ email, url }, ctx) => {
        if (await hasSecondFactor(email, ctx)) mailer?.send(email, ...PASSWORD_NEEDED);
        else mailer?.send(email, "Your link to sign in", `Sign in here, within five minutes:\n\n${url}\n`);
      },
    });
  },

  organization: async (settings, mailer) => {
    const { organization } = await import("better-auth/plugins/organization");
    return organization({
      requireEmailVerificationOnInvitation: mailer !== undefined,
      ...(mailer && {
        sendInvitationEmail: async ({ email, id, inviter, organization }) =>
          mailer.send(
            email,
            `Invitation to ${organization.name}`,
            `${inviter.user.name} invites you to ${organization.name}:\n\n${frontEnd(settings)}/accept-invitation/${id}\n`,
          ),
      }),
    });
  },

  "api-key": async () => {
    const { apiKey } = await import("@better-auth/api-key");
    // Only clients call this server, so a key must replace a session. The plugin's limit, ten calls a day, is for a
    // server that verifies keys itself. Here the limits for an address apply.
    return apiKey({ enableSessionForAPIKeys: true, rateLimit: { enabled: false } });
  },

  "device-authorization": async (settings) => {
    const { deviceAuthorization } = await import("better-auth/plugins/device-authorization");
    return deviceAuthorization({ verificationUri: `${frontEnd(settings)}/device` });
  },

  "last-login-method": async () => (await import("better-auth/plugins")).lastLoginMethod(),

  "multi-session": async () => (await import("better-auth/plugins/multi-session")).multiSession(),
};

/** The library requires the second factor after a password alone, so a mail must not take the password's place. */
const PASSWORD_NEEDED = [
  "Sign in with your password",
  "A sign-in by mail was requested for your account. Because it has a second factor, sign in with your password instead.\n",
] as const;

async function hasSecondFactor(email: string, ctx: GenericEndpointContext | undefined): Promise<boolean> {
  const found = await ctx?.context.internalAdapter.findUserByEmail(email);
  return Boolean((found?.user as { twoFactorEnabled?: boolean } | undefined)?.twoFactorEnabled);
}

/** The origin of the pages for users. */
function frontEnd({ corsOrigins, baseURL }: Settings): string {
  return corsOrigins[0] ?? baseURL;
}

async function turnstile(secretKey: string): Promise<BetterAuthPlugin> {
  const { captcha } = await import("better-auth/plugins/captcha");
  return captcha({
    provider: "cloudflare-turnstile",
    secretKey,
    // The library's own list leaves the other ways to sign in, and to have mail sent, open to programs.
    endpoints: [
      "/sign-up/email",
      "/sign-in/email",
      "/sign-in/username",
      "/sign-in/magic-link",
      "/request-password-reset",
      "/send-verification-email",
      "/email-otp/send-verification-otp",
      "/email-otp/request-password-reset",
      "/forget-password/email-otp",
    ],
  });
}
