/** Who may use `/api/auth/admin/*`: the user ids of ADMIN_USER_IDS, and the owners of the addresses of ADMIN_EMAILS. */
import type { BetterAuthPlugin } from "better-auth";
import { createAuthMiddleware } from "better-auth/api";
import { admin } from "better-auth/plugins/admin";
import type { Settings } from "./settings.ts";

/**
 * The library's plugin, and before it one that looks up the addresses at each call.
 *
 * An address counts only while it is verified: anybody can sign up with one that is not his. Nothing is stored, so
 * that an address that leaves the list loses the right.
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
