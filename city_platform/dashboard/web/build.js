// Bundles the pages into dist/: hashed files, an index.html that names them, and the licences of
// what is inside. Nothing in dist/ asks another host for anything.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = join(HERE, "dist");
const SHARED = {
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  legalComments: "none",
  metafile: true,
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
};

await rm(DIST, { recursive: true, force: true });
await mkdir(join(DIST, "assets"), { recursive: true });

const early = await build({ ...SHARED, format: "iife", entryPoints: ["src/theme_early.js"] });
const pages = await build({
  ...SHARED,
  entryPoints: [{ in: "src/main.jsx", out: "app" }],
  splitting: true,
  jsx: "automatic",
  jsxImportSource: "preact",
});

await writeFile(join(DIST, "index.html"), await page());
await writeFile(join(DIST, "favicon.svg"), await readFile(join(HERE, "src/favicon.svg")));
await writeFile(join(DIST, "third_party_licences.txt"), await licences([early, pages]));
await report();

/** The URL path of the output whose name begins with `name-`. */
function publicUrl(result, name, extension = ".js") {
  const found = Object.keys(result.metafile.outputs).find(
    (path) => path.startsWith(`dist/assets/${name}-`) && path.endsWith(extension),
  );
  if (!found) throw new Error(`the bundle has no ${name}${extension}`);
  return `/${relative("dist", found)}`;
}

async function page() {
  const template = await readFile(join(HERE, "src/index.html"), "utf8");
  return template
    .replace("{{theme}}", publicUrl(early, "theme_early"))
    .replace("{{app}}", publicUrl(pages, "app"))
    .replace("{{style}}", publicUrl(pages, "app", ".css"));
}

/** The licence texts of every package that a bundle took something from. */
async function licences(results) {
  const inputs = results.flatMap((result) => Object.keys(result.metafile.inputs));
  const names = new Set();
  for (const input of inputs) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input);
    if (found) names.add(found[1]);
  }
  const texts = [];
  for (const name of [...names].sort()) {
    const folder = join(HERE, "node_modules", name);
    const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((one) => /^licen[cs]e/i.test(one));
    const text = file ? await readFile(join(folder, file), "utf8") : `Licence: ${about.license}`;
    texts.push(`${name} ${about.version} (${about.license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

async function report() {
  for (const name of (await readdir(join(DIST, "assets"))).sort()) {
    const bytes = await readFile(join(DIST, "assets", name));
    const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 8);
    console.log(`${String(Math.ceil(bytes.length / 1024)).padStart(6)} KiB  ${name}  ${digest}`);
  }
}
