import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";

const PROGRAM = `
  import { createLog } from ${JSON.stringify(new URL("../log.ts", import.meta.url).href)};
  const log = createLog(process.argv[1]);
  log.info({ port: 1 }, "other");
  log.request({ requestId: "r", method: "GET", path: '/"\\n', status: 200, ms: 0.1, client: "c" });
  process.exit();
`;

/** The lines of a process that exits immediately. */
function logged(level: string): Record<string, unknown>[] {
  const out = execFileSync(process.execPath, ["--input-type=module", "--eval", PROGRAM, level], { encoding: "utf8" });
  return out.split("\n").flatMap((line) => (line ? [JSON.parse(line)] : []));
}

test("must write a request in the format of other lines, and all lines before the process ends", () => {
  const [other, request] = logged("info");
  assert.deepEqual(Object.keys(other ?? {}), ["level", "time", "port", "msg"]);
  const { time, ...rest } = request ?? {};
  const fields = { requestId: "r", method: "GET", path: '/"\n', status: 200, ms: 0.1, client: "c" };
  assert.deepEqual(rest, { level: "info", ...fields, msg: "request" });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test("must omit requests at a higher level", () => {
  assert.deepEqual(logged("warn"), []);
});
