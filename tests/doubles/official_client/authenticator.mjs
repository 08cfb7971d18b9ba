/** A software passkey authenticator with the results of a browser's `navigator.credentials`. Source: W3C WebAuthn, level 2. */
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";

/** Creates the WebAuthn objects that a browser would give to a page on `origin`. */
export function installAuthenticator(origin) {
  let key;
  const clientData = (type, challenge) =>
    Buffer.from(
      JSON.stringify({ type, challenge: Buffer.from(challenge).toString("base64url"), origin, crossOrigin: false }),
    );
  let uses = 0;
  /** User present and verified; the attested key, if any. */
  const authenticatorData = (rpId, attested = Buffer.alloc(0)) => {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(++uses);
    const flags = attested.length > 0 ? 0x45 : 0x05;
    return Buffer.concat([createHash("sha256").update(rpId).digest(), Buffer.of(flags), count, attested]);
  };
  const credential = (response) => ({
    id: key.id.toString("base64url"),
    rawId: bytes(key.id),
    type: "public-key",
    authenticatorAttachment: "platform",
    getClientExtensionResults: () => ({}),
    response,
  });

  const create = async ({ publicKey }) => {
    const { publicKey: pub, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    key = { id: randomBytes(16), privateKey, user: publicKey.user.id };
    const { x, y } = pub.export({ format: "jwk" });
    const cose = Buffer.concat([
      // {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
      Buffer.from("a5010203262001215820", "hex"),
      Buffer.from(x, "base64url"),
      Buffer.from("225820", "hex"),
      Buffer.from(y, "base64url"),
    ]);
    const length = Buffer.of(0, key.id.length);
    const data = authenticatorData(publicKey.rp.id, Buffer.concat([Buffer.alloc(16), length, key.id, cose]));
    const attestation = Buffer.concat([
      // {"fmt": "none", "attStmt": {}, "authData": bytes}
      Buffer.from("a363666d74646e6f6e656761747453746d74a068617574684461746158", "hex"),
      Buffer.of(data.length),
      data,
    ]);
    return credential({
      clientDataJSON: bytes(clientData("webauthn.create", publicKey.challenge)),
      attestationObject: bytes(attestation),
      getTransports: () => ["internal"],
    });
  };

  const get = async ({ publicKey }) => {
    const data = authenticatorData(publicKey.rpId);
    const client = clientData("webauthn.get", publicKey.challenge);
    const signed = Buffer.concat([data, createHash("sha256").update(client).digest()]);
    return credential({
      clientDataJSON: bytes(client),
      authenticatorData: bytes(data),
      signature: bytes(sign("sha256", signed, key.privateKey)),
      userHandle: key.user,
    });
  };

  Object.defineProperty(globalThis, "navigator", { value: { credentials: { create, get } } });
  globalThis.PublicKeyCredential = class {};
}

/** Copies the bytes into a new ArrayBuffer. */
function bytes(buffer) {
  return new Uint8Array(buffer).buffer;
}
