import { Policy } from "./policy.js";
import { seedOf } from "./settings.js";
import { Vec } from "./vec.js";

/**
 * @typedef {import("./vec.js").VecOptions & { policy?: Record<string, any>, tensors?: import("./policy.js").Tensors,
 *   stochastic?: boolean }} PlayerOptions `policy`: the section of settings, resolved; `tensors`: what it acts with
 */

const STREAM_EVAL_ENV = 4n << 48n; // pufferlib_core.seeding
const MAX_ENVS = 256;

/** A policy that plays in environments of its own, in an instance of its own: what a page draws, or an evaluation. */
export class Player {
  /**
   * @param {import("./instance.js").Instance} instance a new one
   * @param {string} env
   * @param {PlayerOptions & { policy: Record<string, any> }} options
   */
  constructor(instance, env, { policy, tensors, stochastic = false, ...options }) {
    const { seed = 0 } = options;
    this.instance = instance;
    this.vec = new Vec(instance, env, { firstStream: STREAM_EVAL_ENV, ...options });
    this.policy = new Policy(this.vec, policy, seed);
    if (tensors) this.policy.load(tensors);
    this.vec.reset();
    this.at = instance.create("puf_web_player_create", "player", this.policy.at, this.vec.at);
    this.seed = seedOf(seed);
    this.stochastic = stochastic;
    this.steps = 0n;
  }

  /** The policy acts, all environments step. */
  step() {
    const finished = this.instance.exports.puf_web_player_step(this.at, this.seed, this.steps, this.stochastic ? 0 : 1);
    this.steps += 1n;
    return this.vec.latest(this.instance.check(finished, "player"));
  }

  /** Values of the observations that it acted on last, a view (numEnvs). */
  get value() {
    return this.instance.f32(this.instance.exports.puf_web_player_value(this.at) >>> 0, this.vec.numEnvs);
  }

  /**
   * Acts from now on with other parameters.
   * @param {import("./policy.js").Tensors} tensors
   */
  load(tensors) {
    this.policy.load(tensors);
  }
}

/**
 * How many environments play so many episodes, each the same number.
 * @param {number} episodes
 */
export function sharedBy(episodes) {
  let n = Math.min(episodes, MAX_ENVS);
  while (episodes % n) n--;
  return n;
}

/**
 * Plays whole episodes, an equal number in every environment, so that short ones are not favoured: the object of `puffer eval --json`.
 * @param {Player} player a new one
 * @param {number} episodes in total, a multiple of its environments
 */
export function play(player, episodes) {
  const { numEnvs, env } = player.vec, each = episodes / numEnvs;
  /** @type {import("./vec.js").Episode[][]} */
  const played = Array.from({ length: numEnvs }, () => []);
  while (played.some((row) => row.length < each)) {
    if (player.step().finished === 0) continue;
    for (const episode of player.vec.episodes()) if (played[episode.env].length < each) played[episode.env].push(episode);
  }
  const all = played.flat(), mean = average(all.map((one) => one.return));
  return {
    env,
    episodes: all.length,
    episode_return_mean: mean,
    episode_return_std: Math.sqrt(average(all.map((one) => (one.return - mean) ** 2))),
    episode_length_mean: average(all.map((one) => one.length)),
  };
}

/** @param {number[]} numbers */
function average(numbers) {
  return numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
}
