/** Source: better-auth.com/docs, "Organization". */
import assert from "node:assert/strict";
import { Browser, FRONT, linkIn, mailTo } from "../browser.mjs";

/** A user with a verified address: only the owner of an address may accept its invitation. */
async function member() {
  const person = new Browser();
  await person.signUp();
  await person.client.sendVerificationEmail({ email: person.email, callbackURL: FRONT });
  await person.visit(linkIn(await mailTo(person.email)));
  return person;
}

export default async function organizations({ call, refused }) {
  const [ada, bob, eve] = [await member(), await member(), await member()];
  const { organization } = ada.client;
  const slug = `acme-${Date.now()}`;
  await call(
    "organization.checkSlug",
    () => organization.checkSlug({ slug }),
    ({ status }) => assert(status),
  );
  const { id: organizationId } = await call(
    "organization.create",
    () => organization.create({ name: "Acme", slug }),
    (data) => assert.equal(data.slug, slug),
  );
  await call(
    "organization.list",
    () => organization.list(),
    (list) => assert.equal(list.length, 1),
  );
  await call("organization.setActive", () => organization.setActive({ organizationId }));
  await call(
    "organization.getOrganization",
    () => organization.getOrganization(),
    (data) => assert.equal(data.id, organizationId),
  );
  await call(
    "organization.getFullOrganization",
    () => organization.getFullOrganization(),
    ({ members }) => assert.equal(members.length, 1),
  );
  await call(
    "organization.update",
    () => organization.update({ organizationId, data: { name: "Acme Ltd" } }),
    ({ name }) => assert.equal(name, "Acme Ltd"),
  );
  await refused(
    "organization.update by a stranger",
    () => eve.client.organization.update({ organizationId, data: { name: "Mine" } }),
    400,
    "USER_IS_NOT_A_MEMBER_OF_THE_ORGANIZATION",
  );

  const invite = (email) => organization.inviteMember({ email, role: "member", organizationId });
  const { id: invitationId } = await call(
    "organization.inviteMember",
    () => invite(bob.email),
    ({ status }) => assert.equal(status, "pending"),
  );
  await call(
    "the mail with the invitation",
    () => mailTo(bob.email, 1),
    (text) => assert(text.includes(`${FRONT}/accept-invitation/${invitationId}`)),
  );
  await call(
    "organization.listInvitations",
    () => organization.listInvitations(),
    (list) => assert.equal(list.length, 1),
  );
  const guest = bob.client.organization;
  await call(
    "organization.listUserInvitations",
    () => guest.listUserInvitations(),
    (list) => assert.equal(list[0].id, invitationId),
  );
  await call(
    "organization.getInvitation",
    () => guest.getInvitation({ query: { id: invitationId } }),
    (data) => assert.equal(data.email, bob.email),
  );
  await refused(
    "organization.acceptInvitation of another",
    () => eve.client.organization.acceptInvitation({ invitationId }),
    403,
    "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION",
  );
  await call(
    "organization.acceptInvitation",
    () => guest.acceptInvitation({ invitationId }),
    (data) => assert.equal(data.member.role, "member"),
  );
  const declined = (await invite(eve.email)).data.id;
  await call("organization.rejectInvitation", () =>
    eve.client.organization.rejectInvitation({ invitationId: declined }),
  );
  const withdrawn = (await invite(eve.email)).data.id;
  await call("organization.cancelInvitation", () => organization.cancelInvitation({ invitationId: withdrawn }));

  const { members } = await call(
    "organization.listMembers",
    () => organization.listMembers(),
    ({ total }) => assert.equal(total, 2),
  );
  const memberId = members.find(({ role }) => role === "member").id;
  await call(
    "organization.updateMemberRole",
    () => organization.updateMemberRole({ memberId, role: "admin" }),
    ({ role }) => assert.equal(role, "admin"),
  );
  await call(
    "organization.getActiveMember",
    () => organization.getActiveMember(),
    ({ role }) => assert.equal(role, "owner"),
  );
  await call(
    "organization.getActiveMemberRole",
    () => organization.getActiveMemberRole(),
    ({ role }) => assert.equal(role, "owner"),
  );
  await call(
    "organization.hasPermission",
    () => organization.hasPermission({ permissions: { member: ["create"] } }),
    ({ success }) => assert(success),
  );
  await call("organization.leave", () => guest.leave({ organizationId }));
  const again = (await invite(bob.email)).data.id;
  await guest.acceptInvitation({ invitationId: again });
  await call("organization.removeMember", () => organization.removeMember({ memberIdOrEmail: bob.email }));
  await call("organization.delete", () => organization.delete({ organizationId }));
}
