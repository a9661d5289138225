// node spaces.mjs MODULE < [[ENV, SETTINGS], ...]: the canonical spaces of each, by line; "refused" where the module does not take them.
import { readFileSync } from "node:fs";
import { load } from "../js/src/index.js";
import { canonical } from "../js/src/spaces.js";

const puffer = await load(readFileSync(process.argv[2]));
for (const [env, config] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    console.log(canonical(puffer.vec(env, { config }).known()));
  } catch (error) {
    console.log(`refused: ${error.message}`);
  }
}
