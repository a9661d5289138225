import { createHash } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { transformWithEsbuild, type Plugin } from "vite";

const SOURCE = "src/service-worker.ts";
const PAGE = "index.html";

/**
 * Writes `sw.js`, the service worker of the page, beside what was built: it knows the digest of every file, so that another build is
 * another worker. Other pages of the site are not kept.
 */
export function offline(): Plugin {
  let root = "", built = "";
  return {
    name: "offline",
    apply: "build",
    configResolved({ build, root: folder }) {
      root = folder;
      built = join(folder, build.outDir);
    },
    async writeBundle() {
      const names = (await readdir(built, { recursive: true })).map((name) => name.replaceAll("\\", "/"));
      const files = await Promise.all(names.map(async (name) => ((await stat(join(built, name))).isFile() ? [name] : [])));
      const kept = files.flat().filter((name) => name === PAGE || !(name.endsWith(".html") || name === "sw.js"));
      // A server may send the address of the file on to that of its folder; a page that was sent on cannot be kept.
      const entries = await Promise.all(kept.sort().map(async (name) => [name === PAGE ? "" : name, `sha256-${digest(await readFile(join(built, name)))}`] as const));
      const define = { FILES: JSON.stringify(Object.fromEntries(entries)), VERSION: JSON.stringify(digest(JSON.stringify(entries))) };
      const source = await readFile(join(root, SOURCE), "utf8");
      const { code } = await transformWithEsbuild(source, SOURCE, { define, format: "iife", minify: true, sourcemap: false, target: "es2022" });
      await writeFile(join(built, "sw.js"), code);
    },
  };
}

const digest = (data: string | Uint8Array) => createHash("sha256").update(data).digest("base64");
