// What the tests share: the modules that the gate has built, and the golden records of the environments.
import { readFileSync } from "node:fs";
import { load } from "../src/index.js";

const ROOT = new URL("../../../../", import.meta.url);
const BUILT = new URL("build/wasm/", ROOT);

export const names = ["puffer.wasm", "puffer-scalar.wasm"];

/** @param {string} name */
export const bytes = (name) => readFileSync(new URL(name, BUILT));

/** @param {string} [name] */
export const module = (name = names[0]) => load(bytes(name));

/** @param {string} env */
export const golden = (env) => JSON.parse(readFileSync(new URL(`packages/pufferlib-envs/golden/${env}.json`, ROOT), "utf8"));
