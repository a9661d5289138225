import { dumps, number } from "./json.js";
import { PufferError } from "./errors.js";

/**
 * @typedef {{ type: "Box", low: (number | string)[], high: (number | string)[], shape: number[], dtype: string }} Box
 * @typedef {Box | { type: string, n?: number, nvec?: number[], start?: number }} Space as Python describes it; infinite bounds as text
 * @typedef {{ obs: Box, action: Space }} Spaces
 * @typedef {import("./instance.js").Environment} Environment
 */

/** A bound as Python writes it. @param {number} x */
const bound = (x) => (Number.isFinite(x) ? x : x < 0 ? "-inf" : "inf");

/** @param {number[]} high @param {number[]} [low] @returns {Box} */
const box = (high, low = high.map((x) => -x)) => ({
  type: "Box", low: low.map(bound), high: high.map(bound), shape: [high.length], dtype: "float32",
});

/** How spaces follow from settings where the module does not say it: the rules of each environment's Python file.
 * @type {Record<string, (config: any, size: number) => { obs?: Box, action?: Space }>} */
const RULES = {
  cartpole({ x_limit: x, theta_limit: theta, velocities }) {
    return { obs: box(velocities ? [2 * x, Infinity, 2 * theta, Infinity] : [2 * x, 2 * theta]) };
  },
  catch({ rows, columns }, size) {
    return { obs: { ...box(Array(size).fill(1), Array(size).fill(0)), shape: [rows, columns] } };
  },
  pendulum({ max_speed: speed, max_torque: torque }) {
    return { obs: box([1, 1, speed]), action: box([torque]) };
  },
};

/**
 * Spaces of an environment with settings of its own, those of Python's `EnvSpec`.
 * @param {string} name
 * @param {Environment} env
 * @param {Record<string, any>} config
 * @param {{ obs_size: number, action_kind: number, action_size: number, action_n: number[] }} info what the module says
 * @returns {Spaces | string} or why they are not known
 */
export function spacesOf(name, env, config, info) {
  const changed = env.space_options.find((option) => config[option] !== env.options[option].default);
  const ruled = RULES[name]?.(config, info.obs_size);
  if (changed && !ruled) return `${env.section}.${changed} is not its default and shapes observations or actions in a way that is not known here`;
  return { obs: ruled?.obs ?? resized(env.obs_space, info.obs_size), action: ruled?.action ?? chosen(env.action_space, info) };
}

/** A Box whose numbers have all the same bounds, with so many of them. @param {Box} space @param {number} size @returns {Box} */
function resized(space, size) {
  if (space.low.length === size) return space;
  return { ...space, low: Array(size).fill(space.low[0]), high: Array(size).fill(space.high[0]), shape: [size] };
}

/** Choices as the module has them. @param {Space} space @param {{ action_size: number, action_n: number[] }} info @returns {Space} */
function chosen(space, info) {
  if (space.type === "Discrete") return { ...space, n: info.action_n[0] };
  return space.type === "MultiDiscrete" ? { ...space, nvec: info.action_n.slice(0, info.action_size) } : space;
}

/** Bounds are float64 in Python, which writes 1.0 where JavaScript writes 1. @param {number | string} x */
function float(x) {
  if (typeof x === "string") return JSON.stringify(x);
  return /^-?\d+$/.test(number(x)) ? `${number(x)}.0` : number(x);
}

/** The canonical JSON of spaces, of which Python's `fingerprint` is the SHA-256. @param {Spaces} spaces */
export function canonical({ obs, action }) {
  const texts = [obs, action].map((space) => {
    if (!("low" in space)) return dumps(space, false);
    const [low, high] = [space.low, space.high].map((bounds) => `[${bounds.map(float).join(",")}]`);
    return `{"dtype":"${space.dtype}","high":${high},"low":${low},"shape":${dumps(space.shape, false)},"type":"Box"}`;
  });
  return `[${texts.join(",")}]`;
}

/** The float32 next to x, above (1) or below (-1). @param {number} x @param {1 | -1} way */
function next(x, way) {
  const one = Float32Array.of(x), bits = new Int32Array(one.buffer);
  if (x === 0) return way * 2 ** -149;
  bits[0] += x > 0 ? way : -way;
  return one[0];
}

/**
 * Low and high of the numbers of an action, which `policy.squash` keeps between them; those that float32 does not hold are rounded
 * inwards.
 * @param {Space} action
 */
export function squashBounds(action) {
  if (!("low" in action)) throw new PufferError(`policy.squash: actions are ${action.type} and have no real numbers: leave it out`);
  const [low, high] = [action.low, action.high].map((bounds) => bounds.map((x) => (typeof x === "number" ? x : NaN)));
  const lowest = low.map((x) => (Math.fround(x) < x ? next(Math.fround(x), 1) : Math.fround(x)));
  const highest = high.map((x) => (Math.fround(x) > x ? next(Math.fround(x), -1) : Math.fround(x)));
  if (!lowest.every((x, k) => x < highest[k])) {
    throw new PufferError("policy.squash needs a finite low below a finite high for every number of an action: leave it out");
  }
  return [...lowest, ...highest];
}
