import assert from "node:assert/strict";
import test from "node:test";
import { networkOf } from "../client-address.ts";

/** Each list holds spellings of the same caller. */
const SPELLINGS = {
  "2001:db8:0:1::": [
    "2001:db8:0:1::7",
    "2001:DB8:0:1::7",
    "2001:0db8:0000:0001:0000:0000:0000:0007",
    "2001:db8::1:0:0:0:7",
    "2001:db8:0:1:0:0:0:7",
    "2001:db8:0:1:0::7",
    "2001:db8:0:1::0:7",
    "2001:db8:0:1::0.0.0.7",
    "[2001:db8:0:1::7]",
    "[2001:db8:0:1::7]:443",
    '"[2001:db8:0:1::7]:443"',
    "2001:db8:0:1::7%eth0",
    "  2001:db8:0:1::7 ",
    // Other addresses of the same /64.
    "2001:db8:0:1:ffff:ffff:ffff:ffff",
  ],
  "192.0.2.7": [
    "192.0.2.7",
    " 192.0.2.7 ",
    "192.0.2.7:443",
    "::ffff:192.0.2.7",
    "::FFFF:192.0.2.7",
    "::ffff:c000:207",
    "0:0:0:0:0:ffff:192.0.2.7",
    "[::ffff:192.0.2.7]:443",
  ],
};

for (const [network, spellings] of Object.entries(SPELLINGS))
  test(`must treat ${spellings.length} spellings as the same caller, ${network}`, () => {
    for (const spelling of spellings) assert.equal(networkOf(spelling), network, spelling);
  });

test("must keep networks apart", () => {
  const addresses = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1", "192.0.2.7", "192.0.2.8", "64:ff9b::c000:207"];
  assert.equal(new Set(addresses.map(networkOf)).size, addresses.length);
});

test("must refuse an invalid address", () => {
  for (const text of ["", "unknown", "_hidden", "1.2.3", "01.2.3.4", "0x7f.0.0.1", "1.2.3.4.5", "2001:db8::1::2", "[]"])
    assert.equal(networkOf(text), undefined, text);
});
