// node prove.mjs FOLDER SCRIPT MODULE AGENTS STEPS: runs the worker of an exported page as a browser does, on the files of the folder
// alone, and prints what its agents saw and did, greedily. SCRIPT: a copy of the worker; MODULE: "scalar" as where there are no vectors.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, script, module, agents, steps] = process.argv.slice(2);
const base = "http://localhost/some/where/", broken = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0x7f]);
let heard;

globalThis.fetch = async (address) => {
  const name = new URL(address).href.slice(base.length);
  if (module === "scalar" && name === "puffer.wasm") return new Response(broken);
  return readFile(`${folder}/${name}`).then((bytes) => new Response(bytes), () => new Response(null, { status: 404, statusText: "Not Found" }));
};
globalThis.navigator ??= { hardwareConcurrency: 1 }; // which node has from 21 on
globalThis.self = { postMessage: (told) => heard(told) };
await import(pathToFileURL(script));

const ask = (wish) =>
  new Promise((resolve, reject) => {
    heard = (told) => (told.kind === "error" ? reject(new Error(told.message)) : resolve(told));
    self.onmessage({ data: wish });
  });

const told = await ask({ kind: "open", base }).catch(({ message }) => ({ refused: message }));
const rows = [];
if (!told.refused) {
  self.onmessage({ data: { kind: "watch", numEnvs: Number(agents), stochastic: false } });
  for (let t = 0; t < Number(steps); t++) {
    const { seen } = await ask({ kind: "frame" });
    rows.push({ obs: Array.from(seen.obs), action: seen.action });
  }
}
console.log(JSON.stringify({ ...told, node: process.version, rows }));
