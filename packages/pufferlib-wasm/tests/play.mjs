// node play.mjs MODULE CHECKPOINT STEPS: plays a policy that samples, and counts choices and those that were masked.
import { readFileSync, readdirSync } from "node:fs";
import { load } from "../js/src/index.js";

const [module, folder, steps] = process.argv.slice(2);
const puffer = await load(readFileSync(module));
const files = new Map(readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(`${folder}/${name}`))]));
const player = await puffer.load(files, { numEnvs: 16, stochastic: true, seed: 5 });
const { vec } = player, { actions } = vec.spaces;
const told = { taken: 0, masked: 0, seen: 0, nan: 0, obs: [] };
for (let t = 0; t < Number(steps); t++) {
  const mask = vec.latest().actionMask.slice(), { reward, obs } = player.step(), action = vec.action;
  for (let k = 0, at = 0; k < action.length; at += actions[k++ % actions.length]) {
    told.taken++;
    told.masked += mask[at + action[k]] === 0 ? 1 : 0;
  }
  told.seen += mask.filter((allowed) => allowed === 0).length;
  told.nan += reward.filter(Number.isNaN).length;
  told.obs = Array.from(obs);
}
vec.step(vec.action.slice()); // whoever opens the same doors again opens some that are shut
told.wrong = vec.latest().reward.filter(Number.isNaN).length;
console.log(JSON.stringify(told));
