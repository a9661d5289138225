// node train.mjs MODULE SETTINGS UPDATES FROM TO: trains (FROM: a checkpoint folder to go on from, or -) and writes a checkpoint folder.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { load } from "../js/src/index.js";

const [module, settings, updates, from, to] = process.argv.slice(2);
const puffer = await load(readFileSync(module));
const read = (folder) => new Map(readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(`${folder}/${name}`))]));
const run = from === "-" ? puffer.train(JSON.parse(settings)) : await puffer.resume(read(from));
for (let k = 0; k < Number(updates); k++) run.update();
const files = await run.checkpoint();
mkdirSync(to, { recursive: true });
for (const [name, data] of files) writeFileSync(`${to}/${name}`, data);
const player = await puffer.load(files, { numEnvs: 2 });
let reward = 0;
for (let t = 0; t < 100; t++) reward += player.step().reward.reduce((sum, one) => sum + one, 0);
console.log(JSON.stringify({ steps: run.steps, evaluation: run.evaluate({ episodes: 6, seed: 5 }), reward }));
