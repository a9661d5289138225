import { PufferError } from "./errors.js";
import { writeCheckpoint } from "./checkpoint.js";
import { Player, play, sharedBy } from "./player.js";
import { Policy, tensorOf } from "./policy.js";
import { environment, packed, seedOf } from "./settings.js";
import { Vec } from "./vec.js";

/**
 * @typedef {import("./instance.js").Instance} Instance
 * @typedef {import("./policy.js").Tensors} Tensors
 * @typedef {import("./checkpoint.js").Files} Files
 */

const LOSSES = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm"];

/** A run of PPO in an instance of its own; the same operations as Python's native back end, in the same order. */
export class Run {
  /**
   * @param {Instance} instance a new one
   * @param {(rows: number) => Instance} another makes another one, for so many environments of their own
   * @param {import("./settings.js").Resolved} settings
   */
  constructor(instance, another, settings) {
    const { sections, structs } = instance.catalogue, { train, ppo, seed } = settings;
    this.instance = instance;
    this.another = another;
    this.settings = settings;
    /** The environment's own settings. */
    this.config = settings[environment(instance.catalogue, settings.env).section];
    this.vec = new Vec(instance, settings.env, { numEnvs: train.num_envs, seed, config: this.config });
    this.policy = new Policy(this.vec, settings.policy, seed);
    const config = instance.struct(structs.puf_web_ppo_config, packed(sections.ppo, ppo, structs.puf_web_ppo_config, "ppo"));
    this.at = instance.create("puf_web_run_create", "ppo", this.vec.at, this.policy.at, config, seedOf(seed), train.timesteps);
    /** @type {{ m: import("./policy.js").Place[], v: import("./policy.js").Place[] }} */
    this.moments = this.policy.moments(ppo.optimizer === "muon");
    this.progressAt = instance.exports.puf_web_run_progress(this.at) >>> 0;
  }

  /** How the run stands: the fields of `puf_web_progress`. */
  get progress() {
    return this.instance.read(this.instance.catalogue.structs.puf_web_progress, this.progressAt);
  }

  /** Environment steps so far, of all environments together. */
  get steps() {
    return this.progress.steps;
  }

  /** Whether the run has all its steps, or has reached its goal. */
  get done() {
    const { steps, window, returns, return_mean: mean } = this.progress, { timesteps, stop_return: goal } = this.settings.train;
    return steps >= timesteps || (goal !== null && window === returns.length && mean >= goal);
  }

  /**
   * Collects a segment and learns from it.
   * @returns {Record<string, number>} metrics, by the names of Python
   */
  update() {
    const { instance } = this, { env, train, ppo } = this.settings;
    const collected = instance.exports.puf_web_run_collect(this.at);
    if (collected < 0) {
      const row = this.progress.bad_row;
      const where = `environment ${row % train.num_envs}, row ${Math.floor(row / train.num_envs)} of the segment after ${this.steps} steps`;
      instance.check(collected, `${env}, ${where}`);
    }
    const status = instance.exports.puf_web_run_update(this.at), p = this.progress;
    instance.check(status, `ppo, update ${p.updates}${p.failed ? `, minibatch ${p.failed - 1}` : ""}`);
    return {
      ...Object.fromEntries(LOSSES.map((name) => [`losses/${name}`, p[name]])),
      "losses/explained_variance": p.explained_variance,
      "schedule/learning_rate": p.learning_rate,
      "schedule/gradient_steps": p.adam_step,
      "episode/return_mean": p.return_mean,
      "episode/length_mean": p.length_mean,
      "episode/count": p.episodes,
      ...(ppo.kl_coef ? { "schedule/kl_coef": p.kl_coef_now } : {}),
      ...(ppo.kl_target ? { "losses/divergence": p.divergence } : {}),
    };
  }

  /** Parameters and statistics of observations, copied: what a `Player` takes, and may cross to another thread. */
  tensors() {
    return this.policy.tensors();
  }

  /**
   * A player with the policy as it is now; `player.load(run.tensors())` brings it up to date.
   * @param {import("./vec.js").VecOptions & { stochastic?: boolean }} [options]
   */
  player(options = {}) {
    const { env, seed, policy } = this.settings;
    return new Player(this.another(options.numEnvs ?? 1), env, { seed, config: this.config, policy, tensors: this.tensors(), ...options });
  }

  /**
   * Plays whole episodes on environments of its own; nothing of the run changes.
   * @param {{ episodes?: number, seed?: number | bigint, stochastic?: boolean }} [options]
   */
  evaluate({ episodes = 100, seed = 0, stochastic = false } = {}) {
    if (!Number.isSafeInteger(episodes) || episodes < 1) throw new PufferError(`episodes=${episodes} must be a whole number of at least 1`);
    return play(this.player({ numEnvs: sharedBy(episodes), seed, stochastic }), episodes);
  }

  /** @param {string} name */
  #array(name) {
    return this.instance.exports.puf_web_run_array(this.at, this.instance.catalogue.enums.puf_web_array[name]) >>> 0;
  }

  /** Arrays of the run that are not the policy's, by the files of a checkpoint. @returns {{ trainer: Tensors, envs: Tensors }} */
  #arrays() {
    const { instance, policy, vec, progress: p } = this, n = vec.numEnvs;
    /** @type {Tensors} */
    const trainer = new Map([...policy.split(this.#array("PUF_WEB_M"), this.moments.m), ...policy.split(this.#array("PUF_WEB_V"), this.moments.v)]);
    trainer.set("adam/step", { shape: [1], data: BigInt64Array.of(BigInt(p.adam_step)) });
    trainer.set("updates", { shape: [1], data: BigInt64Array.of(BigInt(p.updates)) });
    const norm = this.#array("PUF_WEB_RETURN_NORM");
    if (norm) {
      ["mean", "var", "count"].forEach((name, k) => trainer.set(`return_norm/${name}`, { shape: [1], data: instance.f64(norm + 8 * k, 1).slice() }));
      trainer.set("return_norm/running", { shape: [n], data: instance.f64(norm + 24, n).slice() });
    }
    if (this.settings.ppo.kl_coef) trainer.set("kl_coef", { shape: [1], data: Float64Array.of(p.kl_coef) });
    const { shape } = vec.known().obs;
    /** @type {Tensors} */
    const envs = new Map();
    envs.set("records", { shape: [n, vec.recordBytes], data: vec.records() });
    envs.set("obs", { shape: [n, ...shape], data: instance.f32(this.#array("PUF_WEB_FIRST_OBS"), n * vec.spaces.obsSize).slice() });
    const mask = this.#array("PUF_WEB_FIRST_ACTION_MASK"), carry = this.#array("PUF_WEB_FIRST_CARRY");
    if (mask) envs.set("action_mask", { shape: [n, vec.choices], data: instance.u8(mask, n * vec.choices).slice() });
    if (carry) envs.set("carry", { shape: [n, policy.carry], data: instance.f32(carry, n * policy.carry).slice() });
    return { trainer, envs };
  }

  /**
   * The run as it stands, as the files of a checkpoint folder: Python resumes it (`puffer train --resume`) and plays it.
   * @returns {Promise<Files>}
   */
  async checkpoint() {
    const p = this.progress, { trainer, envs } = this.#arrays();
    return writeCheckpoint(this.settings, this.vec.known(), {
      steps: p.steps,
      episodes: { count: p.episodes, returns: p.returns.slice(0, p.window), lengths: p.lengths.slice(0, p.window) },
      tensors: { policy: this.tensors(), trainer, envs },
    });
  }

  /**
   * Goes on from a checkpoint of the same settings.
   * @param {import("./checkpoint.js").Checkpoint} saved
   */
  restore({ tensors, state }) {
    const { instance, policy, vec } = this, n = vec.numEnvs, { trainer, envs } = tensors;
    const { shape } = vec.known().obs;
    vec.restore(tensorOf(envs, "records", Uint8Array, [n, vec.recordBytes]));
    instance.f32(this.#array("PUF_WEB_FIRST_OBS"), n * vec.spaces.obsSize).set(tensorOf(envs, "obs", Float32Array, [n, ...shape]));
    const mask = this.#array("PUF_WEB_FIRST_ACTION_MASK"), carry = this.#array("PUF_WEB_FIRST_CARRY"), norm = this.#array("PUF_WEB_RETURN_NORM");
    if (mask) instance.u8(mask, n * vec.choices).set(tensorOf(envs, "action_mask", Uint8Array, [n, vec.choices]));
    if (carry) instance.f32(carry, n * policy.carry).set(tensorOf(envs, "carry", Float32Array, [n, policy.carry]));
    if (norm) {
      ["mean", "var", "count"].forEach((name, k) => instance.f64(norm + 8 * k, 1).set(tensorOf(trainer, `return_norm/${name}`, Float64Array, [1])));
      instance.f64(norm + 24, n).set(tensorOf(trainer, "return_norm/running", Float64Array, [n]));
    }
    policy.join(trainer, this.#array("PUF_WEB_M"), this.moments.m);
    policy.join(trainer, this.#array("PUF_WEB_V"), this.moments.v);
    const layout = instance.catalogue.structs.puf_web_progress, { count, returns, lengths } = state.episodes;
    const numbers = {
      steps: BigInt(state.steps),
      updates: tensorOf(trainer, "updates", BigInt64Array, [1])[0],
      adam_step: tensorOf(trainer, "adam/step", BigInt64Array, [1])[0],
      episodes: BigInt(count),
      window: returns.length,
      returns,
      lengths,
      kl_coef: this.settings.ppo.kl_coef ? tensorOf(trainer, "kl_coef", Float64Array, [1])[0] : 0,
    };
    for (const [name, value] of Object.entries(numbers)) instance.write(layout, this.progressAt, name, value);
    policy.load(tensors.policy);
  }
}
