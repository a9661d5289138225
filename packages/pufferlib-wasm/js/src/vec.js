import { PufferError } from "./errors.js";
import { environment, packed, section, seedOf } from "./settings.js";
import { spacesOf } from "./spaces.js";

/**
 * @typedef {import("./instance.js").Instance} Instance
 * @typedef {{ numEnvs?: number, seed?: number | bigint, autoreset?: keyof typeof AUTORESET, config?: Record<string, any>,
 *   firstStream?: bigint }} VecOptions `config`: settings of the environment
 * @typedef {{ obs: Float32Array, reward: Float32Array, cost: Float32Array, terminated: Uint8Array, truncated: Uint8Array,
 *   valid: Uint8Array, finalObs: Float32Array, actionMask: Uint8Array | null, finished: number }} Step views, overwritten by the next
 *   step; `finalObs` holds something where an episode ended; row-major, a row for each environment
 * @typedef {{ env: number, return: number, length: number, metrics: number[] }} Episode
 * @typedef {{ obsSize: number, actions: number[] | null, actionSize: number, masks: boolean, maxSteps: number }} Spaces `actions`:
 *   choices of each component, null where actions are numbers
 */

export const AUTORESET = { same_step: 0, next_step: 1, disabled: 2 };

/** Environments stepped together; the same as Python's `make_vec`, bit for bit. */
export class Vec {
  /**
   * @param {Instance} instance
   * @param {string} env
   * @param {VecOptions} [options]
   */
  constructor(instance, env, { numEnvs = 1, seed = 0, autoreset = "same_step", config = {}, firstStream = 0n } = {}) {
    const known = environment(instance.catalogue, env);
    if (!Number.isSafeInteger(numEnvs) || numEnvs < 1) throw new PufferError(`numEnvs=${numEnvs} must be a whole number of at least 1`);
    if (!(autoreset in AUTORESET)) throw new PufferError(`autoreset=${autoreset} must be one of ${Object.keys(AUTORESET).join(", ")}`);
    this.instance = instance;
    this.env = env;
    this.numEnvs = numEnvs;
    this.config = section(known.options, known.section, config);
    const c = instance.struct(known.struct, packed(known.options, this.config, known.struct, known.section));
    const where = `${env} with ${numEnvs} environments`;
    this.at = instance.create("puf_web_vec_create", where, known.index, c, numEnvs, AUTORESET[autoreset], seedOf(seed), firstStream);
    const info = instance.read(instance.catalogue.structs.puf_env_info, this.infoAt);
    const discrete = info.action_kind === 0;
    /** @type {Spaces} */
    this.spaces = {
      obsSize: info.obs_size,
      actions: discrete ? info.action_n.slice(0, info.action_size) : null,
      actionSize: info.action_size,
      masks: info.masks === 1,
      maxSteps: info.max_episode_steps,
    };
    this.described = spacesOf(env, known, this.config, /** @type {any} */ (info));
    this.choices = info.logits;
    this.metrics = info.metric_count;
    this.started = false;
    /** Room for the records of all environments; 0: not yet. */
    this.scratchAt = 0;
  }

  /** The spaces as Python describes them. */
  known() {
    if (typeof this.described === "string") throw new PufferError(`${this.described}: train with the default`);
    return this.described;
  }

  get infoAt() {
    return this.instance.exports.puf_web_vec_info(this.at) >>> 0;
  }

  /** @param {string} name */
  plane(name) {
    return this.instance.exports.puf_web_vec_plane(this.at, this.instance.catalogue.enums.puf_web_plane[name]) >>> 0;
  }

  /** What the next step takes: choices (numEnvs, components) or numbers (numEnvs, size). */
  get action() {
    const count = this.numEnvs * this.spaces.actionSize;
    return this.spaces.actions ? this.instance.i32(this.plane("PUF_WEB_ACTION"), count) : this.instance.f32(this.plane("PUF_WEB_ACTION"), count);
  }

  /**
   * What the last step or reset wrote.
   * @param {number} [finished]
   * @returns {Step}
   */
  latest(finished = 0) {
    const n = this.numEnvs, size = n * this.spaces.obsSize, { instance } = this;
    return {
      obs: instance.f32(this.plane("PUF_WEB_OBS"), size),
      reward: instance.f32(this.plane("PUF_WEB_REWARD"), n),
      cost: instance.f32(this.plane("PUF_WEB_COST"), n),
      terminated: instance.u8(this.plane("PUF_WEB_TERMINATED"), n),
      truncated: instance.u8(this.plane("PUF_WEB_TRUNCATED"), n),
      valid: instance.u8(this.plane("PUF_WEB_VALID"), n),
      finalObs: instance.f32(this.plane("PUF_WEB_FINAL_OBS"), size),
      actionMask: this.spaces.masks ? instance.u8(this.plane("PUF_WEB_ACTION_MASK"), n * this.choices) : null,
      finished,
    };
  }

  /** Starts new episodes everywhere. */
  reset() {
    this.instance.check(this.instance.exports.puf_web_vec_reset(this.at), "reset");
    this.started = true;
    return this.latest();
  }

  /**
   * One step of every environment.
   * @param {ArrayLike<number>} [action] see `action`, which may also be filled in place
   */
  step(action) {
    if (!this.started) throw new PufferError("step: call reset first");
    if (action) {
      const to = this.action;
      if (action.length !== to.length) throw new PufferError(`step: action must hold ${to.length} numbers, got ${action.length}`);
      to.set(action);
    }
    return this.latest(this.instance.check(this.instance.exports.puf_web_vec_step(this.at), "step (is an action out of range?)"));
  }

  /**
   * Episodes that ended with the last step, by environment.
   * @returns {Episode[]}
   */
  episodes() {
    const { terminated, truncated } = this.latest(), layout = this.instance.catalogue.structs.puf_episode;
    const result = [];
    for (let env = 0; env < this.numEnvs; env++) {
      if (!terminated[env] && !truncated[env]) continue;
      const log = this.instance.read(layout, this.plane("PUF_WEB_LOG") + env * layout.size);
      result.push({ env, return: log.episode_return, length: log.episode_length, metrics: log.metric.slice(0, this.metrics) });
    }
    return result;
  }

  get recordBytes() {
    return this.instance.exports.puf_web_vec_record_bytes(this.at);
  }

  /** Canonical states of all environments, the same bytes on every target: (numEnvs, recordBytes), a copy. */
  records() {
    const at = this.scratch();
    this.instance.check(this.instance.exports.puf_web_vec_save(this.at, at), "records");
    return this.instance.u8(at, this.numEnvs * this.recordBytes).slice();
  }

  /**
   * Goes on from states that `records` gave, here or in Python.
   * @param {Uint8Array} records
   */
  restore(records) {
    const size = this.numEnvs * this.recordBytes, at = this.scratch();
    if (records.length !== size) throw new PufferError(`restore: ${this.numEnvs} environments have ${size} bytes, got ${records.length}`);
    this.instance.u8(at, size).set(records);
    this.instance.check(this.instance.exports.puf_web_vec_load(this.at, at), "restore");
    this.started = true;
  }

  scratch() {
    this.scratchAt ||= this.instance.alloc(this.numEnvs * this.recordBytes);
    return this.scratchAt;
  }
}
