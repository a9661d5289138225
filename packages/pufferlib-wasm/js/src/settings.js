import { PufferError } from "./errors.js";

/**
 * Settings of a run, in the sections and with the names of Python: `train`, `policy`, `ppo` and the environment's own.
 * @typedef {{ env: string, seed?: number | bigint, train?: Record<string, any>, policy?: Record<string, any>,
 *   ppo?: Record<string, any>, [section: string]: any }} Settings
 * @typedef {Record<string, any> & { env: string, seed: number | bigint, train: Record<string, any>, policy: Record<string, any>,
 *   ppo: Record<string, any> }} Resolved
 * @typedef {import("./instance.js").Option} Option
 * @typedef {import("./instance.js").Catalogue} Catalogue
 */

/** Options of `train` that a run here heeds; the others speak of threads, processes and files. */
const HEEDED = ["timesteps", "num_envs", "stop_return"];
const TOP = ["env", "algorithm", "backend", "seed", "out"];

/**
 * The name that was probably meant, as a phrase.
 * @param {string} name
 * @param {string[]} known
 */
function suggest(name, known) {
  const close = known.find((one) => one.toLowerCase() === name.toLowerCase() || one.startsWith(name) || name.startsWith(one));
  return close ? `; did you mean ${close}?` : `; known: ${known.join(", ")}`;
}

/**
 * An environment of the module.
 * @param {Catalogue} catalogue
 * @param {string} name
 */
export function environment(catalogue, name) {
  const found = catalogue.environments[name];
  if (!found) throw new PufferError(`env=${name}: no such environment${suggest(String(name), Object.keys(catalogue.environments))}`);
  return found;
}

/**
 * A value that its option allows.
 * @param {any} value
 * @param {Option} option
 * @param {string} where
 * @returns {any}
 */
function checked(value, option, where) {
  if (value === null && option.default === null) return null;
  if (option.list) {
    if (!Array.isArray(value)) throw new PufferError(`${where} must be a list, got ${JSON.stringify(value)}`);
    return value.map((one, k) => checked(one, { ...option, list: false }, `${where}[${k}]`));
  }
  const kind = { int: "number", float: "number", bool: "boolean", str: "string" }[option.kind];
  if (typeof value !== kind || (option.kind === "int" && !Number.isSafeInteger(value)) || (kind === "number" && !Number.isFinite(value))) {
    throw new PufferError(`${where} must be ${option.kind}, got ${JSON.stringify(value) ?? value}`);
  }
  if (option.choices && !option.choices.includes(value)) {
    throw new PufferError(`${where}=${value} must be one of ${option.choices.join(", ")}`);
  }
  const { low = -Infinity, high = Infinity } = option;
  if (kind === "number" && (value < low || value > high)) throw new PufferError(`${where}=${value} must be in [${low}, ${high}]`);
  return value;
}

/**
 * A section with its defaults filled in.
 * @param {Record<string, Option>} options
 * @param {string} where
 * @param {...(Record<string, any> | undefined)} layers later ones first in rank
 */
export function section(options, where, ...layers) {
  const values = Object.fromEntries(Object.entries(options).map(([name, option]) => [name, option.default]));
  for (const layer of layers) {
    for (const [name, value] of Object.entries(layer ?? {})) {
      if (!(name in options)) throw new PufferError(`unknown setting ${where}.${name}${suggest(name, Object.keys(options))}`);
      values[name] = checked(value, options[name], `${where}.${name}`);
    }
  }
  return values;
}

/**
 * Checks a seed: a whole number of 64 bits.
 * @param {number | bigint} seed
 * @returns {bigint}
 */
export function seedOf(seed) {
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!whole || BigInt(seed) < 0n || BigInt(seed) >= 1n << 64n) {
    throw new PufferError(`seed=${seed} must be a whole number in [0, 2^64); from 2^53 on write it as a bigint`);
  }
  return BigInt(seed);
}

/**
 * Every setting of a run with its final value: what is given over the preset of the environment over defaults.
 * @param {Catalogue} catalogue
 * @param {Settings} given
 * @returns {Resolved}
 */
export function resolve(catalogue, given) {
  const env = environment(catalogue, given.env);
  const own = env.section, names = [...Object.keys(catalogue.sections), own];
  for (const name of Object.keys(given)) {
    if (!TOP.includes(name) && !names.includes(name)) throw new PufferError(`unknown setting ${name}${suggest(name, [...TOP, ...names])}`);
  }
  for (const [name, only] of [["algorithm", "ppo"], ["backend", "native"]]) {
    if (given[name] !== undefined && given[name] !== only) throw new PufferError(`${name}=${given[name]} does not run here, only ${only}`);
  }
  const seed = given.seed ?? 0;
  seedOf(seed);
  /** @type {any} */
  const result = { env: given.env, algorithm: "ppo", backend: "native", seed, out: given.out ?? "runs" };
  for (const [name, options] of Object.entries(catalogue.sections)) {
    result[name] = section(options, name, env.preset[name], given[name]);
  }
  result[own] = section(env.options, own, given[own]);
  checkTogether(result);
  return result;
}

/**
 * The options that may be chosen here for a run of an environment, by section; `start` is what each is when left out.
 * @param {Catalogue} catalogue
 * @param {string} name
 * @returns {Record<string, Record<string, Option & { start: any }>>}
 */
export function possible(catalogue, name) {
  const env = environment(catalogue, name), { sections, structs } = catalogue;
  return Object.fromEntries(
    Object.entries({ ...sections, [name]: env.options }).map(([part, options]) => {
      const fields = part === name ? env.struct.fields : structs[`puf_web_${part}_config`]?.fields;
      const known = Object.entries(options).filter(([option]) => (fields ? option in fields : HEEDED.includes(option)));
      return [part, Object.fromEntries(known.map(([option, said]) => [option, { ...said, start: env.preset[part]?.[option] ?? said.default }]))];
    }),
  );
}

/** @param {Resolved} settings */
function checkTogether({ train, policy, ppo }) {
  if (ppo.kl_target && !ppo.kl_coef) throw new PufferError(`ppo.kl_target=${ppo.kl_target} adapts ppo.kl_coef, which is 0: begin with 0.2, say`);
  if (ppo.dual_clip > 0 && ppo.dual_clip <= 1) throw new PufferError(`ppo.dual_clip=${ppo.dual_clip} must be above 1, or 0 for none`);
  if (ppo.prioritize > 0 && ppo.prioritize < 1e-6) throw new PufferError(`ppo.prioritize=${ppo.prioritize} must be at least 1e-6, or 0 for none`);
  if (train.lag !== null) throw new PufferError(`train.lag=${train.lag} needs a thread that collects, which is not possible in WebAssembly: leave it out`);
  const rows = train.num_envs * ppo.horizon;
  if (rows % ppo.minibatch !== 0) {
    throw new PufferError(`ppo.minibatch=${ppo.minibatch} does not divide train.num_envs * ppo.horizon = ${rows}: choose a divisor`);
  }
  const why = policy.core !== "none" ? `policy.core=${policy.core}` : ppo.prioritize ? `ppo.prioritize=${ppo.prioritize} draws environments` : "";
  if (why && ppo.minibatch % ppo.horizon !== 0) {
    throw new PufferError(
      `ppo.minibatch=${ppo.minibatch} must hold whole sequences of ppo.horizon=${ppo.horizon} steps, because ${why}: choose a multiple`,
    );
  }
}

/**
 * The values of a section as its C struct has them: choices by number, lists with their length.
 * @param {Record<string, Option>} options
 * @param {Record<string, any>} values
 * @param {import("./instance.js").Layout} layout
 * @param {string} where
 * @param {string[]} [others] settings that the caller sees to
 * @returns {Record<string, any>}
 */
export function packed(options, values, layout, where, others = []) {
  /** @type {Record<string, any>} */
  const result = {};
  for (const [name, option] of Object.entries(options)) {
    const value = values[name];
    if (others.includes(name)) continue;
    if (!(name in layout.fields)) {
      if (JSON.stringify(value) === JSON.stringify(option.default)) continue;
      throw new PufferError(`${where}.${name}=${JSON.stringify(value)} is not possible in WebAssembly: leave it at ${JSON.stringify(option.default)}`);
    }
    if (option.list) {
      const room = layout.fields[name][2];
      if (value.length < 1 || value.length > room) throw new PufferError(`${where}.${name} must have 1 to ${room} numbers, got ${value.length}`);
      result[`${name}_count`] = value.length;
    }
    result[name] = option.choices ? option.choices.indexOf(value) : value;
  }
  return result;
}
