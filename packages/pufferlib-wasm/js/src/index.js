import { readCheckpoint } from "./checkpoint.js";
import { PufferError } from "./errors.js";
import { Instance } from "./instance.js";
import { Player } from "./player.js";
import { Run } from "./run.js";
import { environment, possible, resolve, section } from "./settings.js";
import { Vec } from "./vec.js";

export { PufferError, Player, Run, Vec };

/**
 * @typedef {import("./settings.js").Settings} Settings
 * @typedef {import("./checkpoint.js").Files} Files
 * @typedef {import("./policy.js").Tensors} Tensors
 * @typedef {import("./vec.js").Step} Step
 * @typedef {import("./vec.js").VecOptions} VecOptions
 * @typedef {import("./player.js").PlayerOptions} PlayerOptions
 * @typedef {import("./instance.js").Catalogue} Catalogue
 * @typedef {import("./instance.js").Option} Option
 */

const SECTION = "puffer";
const VERSION = 1;

/** A compiled module. Each vector environment, player and run made of it has linear memory of its own, and ends with its last reference. */
export class Puffer {
  /** @param {WebAssembly.Module} module */
  constructor(module) {
    const [text] = WebAssembly.Module.customSections(module, SECTION);
    if (!text) throw new PufferError("this is not a module of pufferlib-wasm: it does not say what it holds");
    this.module = module;
    /** @type {import("./instance.js").Catalogue} */
    this.catalogue = JSON.parse(new TextDecoder().decode(text));
    if (this.catalogue.version !== VERSION) {
      throw new PufferError(`the module has version ${this.catalogue.version}, this API reads ${VERSION}: take both from one release`);
    }
  }

  /** Names of the environments. */
  get environments() {
    return Object.keys(this.catalogue.environments);
  }

  /**
   * What may be chosen for a run of an environment: options by section, `start` is what each is when left out.
   * @param {string} env
   */
  options(env) {
    return possible(this.catalogue, env);
  }

  #instance = () => new Instance(this.module, this.catalogue);

  /**
   * Environments stepped together.
   * @param {string} env
   * @param {VecOptions} [options]
   */
  vec(env, options) {
    return new Vec(this.#instance(), env, options);
  }

  /**
   * A run of PPO, before its first update.
   * @param {Settings} settings
   */
  train(settings) {
    return new Run(this.#instance(), this.#instance, resolve(this.catalogue, settings));
  }

  /**
   * A run that goes on from a checkpoint, of Python's native back end or of this package.
   * @param {Files} files
   * @param {{ train?: Record<string, any> }} [changes] settings that differ from those of the checkpoint, such as `train.timesteps`
   */
  async resume(files, changes = {}) {
    const saved = await readCheckpoint(files), { settings } = saved.state;
    if (!Number.isSafeInteger(settings.seed)) throw new PufferError(`seed=${settings.seed} is beyond 2^53: such a checkpoint cannot be resumed here`);
    // A setting that the checkpoint leaves out had no value.
    const { stop_return = null, max_episode_steps = null, ...train } = settings.train;
    const run = this.train({ ...settings, backend: "native", train: { stop_return, max_episode_steps, ...train, ...changes.train } });
    this.#sameSpaces(saved.manifest, settings.env);
    run.restore(saved);
    return run;
  }

  /**
   * A policy that plays.
   * @param {string} env
   * @param {PlayerOptions} [options]
   */
  player(env, options = {}) {
    const { preset } = environment(this.catalogue, env);
    const policy = section(this.catalogue.sections.policy, "policy", preset.policy, options.policy);
    return new Player(this.#instance(), env, { ...options, policy });
  }

  /**
   * The policy of a checkpoint, of any back end, as a player.
   * @param {Files} files
   * @param {VecOptions & { stochastic?: boolean }} [options]
   */
  async load(files, options = {}) {
    const { manifest, state, tensors } = await readCheckpoint(files), { env } = manifest;
    const config = state.settings?.[env] ?? {};
    this.#sameSpaces(manifest, env);
    return this.player(env, { config, policy: manifest.policy.config, tensors: tensors.policy, ...options });
  }

  /**
   * @param {any} manifest
   * @param {string} env
   */
  #sameSpaces(manifest, env) {
    if (environment(this.catalogue, env).obs_space.shape.join() !== manifest.policy.obs_space.shape?.join()) {
      throw new PufferError(`the checkpoint's observations are not those of ${env} in this module`);
    }
  }
}

/**
 * Compiles a module: `puffer.wasm` beside the package, or what is given.
 * @param {BufferSource | URL | string | WebAssembly.Module} [source] bytes, an address to fetch, or a compiled module (such as came by message)
 */
export async function load(source = new URL("../puffer.wasm", import.meta.url)) {
  if (source instanceof WebAssembly.Module) return new Puffer(source);
  if (typeof source !== "string" && !(source instanceof URL)) return new Puffer(await WebAssembly.compile(source));
  const response = await fetch(source);
  if (!response.ok) throw new PufferError(`${source}: ${response.status} ${response.statusText}`);
  return new Puffer(await WebAssembly.compile(await response.arrayBuffer()));
}
