/** Administrators, who may use `/api/auth/admin/*`: the users of ADMIN_USER_IDS and the owners of ADMIN_EMAILS. */
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { admin } from "better-auth/plugins/admin";
import type { Settings } from "./settings.ts";

/**
 * The library's plugin, after a plugin that looks up the addresses at each call.
 *
 * An address counts only while it is verified: anyone can sign up with a stranger's address. The right is not stored:
 * an address that leaves the list loses it.
 */
export function administrators({ adminUserIds, adminEmails }: Settings): BetterAuthPlugin[] {
  const ids = [...adminUserIds];
  const lookUp: BetterAuthPlugin = {
    id: "admin-emails",
    hooks: {
      before: [
        {
          matcher: ({ path }) => path?.startsWith("/admin/") ?? false,
          handler: createAuthMiddleware(async (ctx) => {
            const owners = await ctx.context.adapter.findMany<{ id: string; emailVerified: boolean }>({
              model: "user",
              where: [{ field: "email", operator: "in", value: adminEmails }],
            });
            const verified = owners.filter(({ emailVerified }) => emailVerified).map(({ id }) => id);
            ids.splice(0, ids.length, ...adminUserIds, ...verified);
          }),
        },
      ],
    },
  };
  return adminEmails.length > 0 ? [lookUp, admin({ adminUserIds: ids })] : [admin({ adminUserIds: ids })];
}
