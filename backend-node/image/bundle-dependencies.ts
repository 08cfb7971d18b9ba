/**
 * Writes the image's `node_modules`: a single file for each package, with the imported part.
 *
 * Node opens and compiles about ten files at start instead of seven hundred, and the image needs a tenth of the
 * space, while the sources stay unchanged: Node runs them directly, and `docker compose watch` syncs them.
 * Usage: node bundle-dependencies.ts FOLDER
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { build, type Plugin } from "esbuild";

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: node bundle-dependencies.ts FOLDER");

const imported = new Set<string>();
const collect: Plugin = {
  name: "collect",
  setup: (plugin) => {
    plugin.onResolve({ filter: /^[^.]/ }, ({ path: name, kind }) => {
      if (kind === "entry-point") return undefined;
      if (!name.startsWith("node:")) imported.add(name);
      return { path: name, external: true };
    });
  },
};
await build({ entryPoints: ["auth-server.ts"], bundle: true, write: false, format: "esm", plugins: [collect] });

await build({
  entryPoints: Object.fromEntries(
    [...imported].map((name) => [name === packageOf(name) ? `${name}/index` : name, name]),
  ),
  outdir: folder,
  bundle: true,
  splitting: true,
  // Not minifyIdentifiers: a stack trace in the log should keep its names.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "none",
  format: "esm",
  platform: "node",
  target: "node24",
  chunkNames: "shared/[hash]",
  external: ["pg-native"],
  // CommonJS packages call require(), which an ES module lacks.
  banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
});
const manifest = { type: "module", exports: { ".": "./index.js", "./*": "./*.js" } };
for (const name of ["shared", ...imported])
  writeFileSync(path.join(folder, packageOf(name), "package.json"), JSON.stringify(manifest));

/** `@scope/name` or `name`, without the path after it. */
function packageOf(name: string): string {
  return name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");
}
