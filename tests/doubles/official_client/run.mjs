/**
 * Makes the calls of one suite, and prints each as a line of JSON: `{"call", "failure"}`, then `{"routes"}`.
 * Usage: node run.mjs SUITE
 */
import { routes } from "./browser.mjs";

const [suite] = process.argv.slice(2);
const { default: calls } = await import(`./suites/${suite}.mjs`);

/** Makes a call and checks its response. Prints a failure and goes on. */
async function call(name, make, check = () => {}) {
  let failure = null;
  let data;
  try {
    const answer = await make();
    if (answer?.error) throw new Error(JSON.stringify(answer.error));
    data = answer !== null && typeof answer === "object" && "data" in answer ? answer.data : answer;
    await check(data);
  } catch (error) {
    failure = error.message;
  }
  console.log(JSON.stringify({ call: name, failure }));
  return data;
}

/** Makes a call whose documented response is an error. */
async function refused(name, make, status, code) {
  let failure = null;
  try {
    const { error } = await make();
    if (error?.status !== status || error?.code !== code) throw new Error(JSON.stringify(error));
  } catch (error) {
    failure = `expected ${status} ${code}: ${error.message}`;
  }
  console.log(JSON.stringify({ call: name, failure }));
}

try {
  await calls({ call, refused });
} catch (error) {
  console.log(JSON.stringify({ call: `${suite}, to its end`, failure: error.stack }));
}
console.log(JSON.stringify({ routes: [...routes] }));
