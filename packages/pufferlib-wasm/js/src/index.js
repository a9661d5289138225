import { readCheckpoint } from "./checkpoint.js";
import { Crew, MOST, obstacle } from "./crew.js";
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
 * @typedef {BufferSource | URL | string | WebAssembly.Module} Source bytes, an address to fetch, or a compiled module (such as came by message)
 * @typedef {{ plain: Source, threads: Source }} Sources `puffer.wasm` and `puffer-threads.wasm`; the one that is used is fetched
 * @typedef {{ threads?: number, worker?: import("./crew.js").MakeWorker }} LoadOptions `threads`: with the one that calls; `worker`: makes
 *   a Worker of `crew-worker.js`, where the package's own way does not suit a bundler
 * @typedef {import("./instance.js").Catalogue} Catalogue
 * @typedef {import("./instance.js").Option} Option
 */

const SECTION = "puffer";
const VERSION = 3;
const ROWS = 128; // environments that are worth a thread: pufferlib_core.native.default_threads
/** @type {Sources} */
const BESIDE = { plain: new URL("../puffer.wasm", import.meta.url), threads: new URL("../puffer-threads.wasm", import.meta.url) };

/** A compiled module. Each vector environment, player and run made of it has linear memory of its own, and ends with its last reference. */
export class Puffer {
  #crew;

  /**
   * @param {WebAssembly.Module} module
   * @param {Crew | null} [crew] its workers
   * @param {string | null} [obstacle] why it has none although they were asked for
   */
  constructor(module, crew = null, obstacle = null) {
    this.#crew = crew;
    this.obstacle = obstacle;
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

  /** Threads that share the work of a run, with the one that calls. */
  get threads() {
    return this.#crew?.threads ?? 1;
  }

  /** Ends the workers at once; what was made goes on in one thread. They also end with the last reference to all of it. */
  async close() {
    await this.#crew?.close();
  }

  /** For so many environments; few have nothing to share. */
  #instance = (rows = 1) => new Instance(this.module, this.catalogue, rows > ROWS ? this.#crew : null);

  /**
   * Environments stepped together.
   * @param {string} env
   * @param {VecOptions} [options]
   */
  vec(env, options) {
    return new Vec(this.#instance(options?.numEnvs), env, options);
  }

  /**
   * A run of PPO, before its first update.
   * @param {Settings} settings
   */
  train(settings) {
    return new Run(this.#instance(Infinity), this.#instance, resolve(this.catalogue, settings));
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
    sameSpaces(saved.manifest, run.vec);
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
    return new Player(this.#instance(options.numEnvs), env, { ...options, policy });
  }

  /**
   * The policy of a checkpoint, of any back end, as a player.
   * @param {Files} files
   * @param {VecOptions & { stochastic?: boolean }} [options]
   */
  async load(files, options = {}) {
    const { manifest, state, tensors } = await readCheckpoint(files), { env } = manifest;
    const config = state.settings?.[environment(this.catalogue, env).section] ?? {};
    const player = this.player(env, { config, policy: manifest.policy.config, ...options });
    sameSpaces(manifest, player.vec);
    player.load(tensors.policy);
    return player;
  }
}

/**
 * @param {any} manifest
 * @param {Vec} vec
 */
function sameSpaces({ policy: { obs_space: theirs } }, { described: ours, env }) {
  if (typeof ours !== "string" && ours.obs.shape.join() !== theirs.shape?.join()) {
    throw new PufferError(`the checkpoint's observations are not those of ${env} in this module`);
  }
}

/**
 * Compiles a module: those beside the package, or what is given. With `threads` above 1, and where memory can be shared, it is the one with
 * threads, whose workers have started when this resolves; of two modules, the plain one where it cannot (`obstacle` then says why).
 * @param {Source | Sources} [source]
 * @param {LoadOptions} [options]
 */
export async function load(source = BESIDE, { threads = 1, worker } = {}) {
  if (!Number.isSafeInteger(threads) || threads < 1 || threads > MOST) throw new PufferError(`threads=${threads} must be a whole number in [1, ${MOST}]`);
  const hurdle = threads > 1 ? obstacle() : null, choice = typeof source === "object" && "plain" in source ? source : null;
  if (hurdle && !choice) throw new PufferError(`threads=${threads}: ${hurdle}; given { plain, threads }, load takes the plain module then`);
  const share = threads > 1 && !hurdle;
  const module = await compiled(choice ? (share ? choice.threads : choice.plain) : /** @type {Source} */ (source));
  const puffer = new Puffer(module, null, hurdle);
  if (!share) return puffer;
  if (!puffer.catalogue.memory) throw new PufferError(`threads=${threads}: this module is for one thread: give puffer-threads.wasm`);
  return new Puffer(module, await Crew.start(module, threads, worker));
}

/** @param {Source} source */
async function compiled(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source !== "string" && !(source instanceof URL)) return WebAssembly.compile(source);
  const response = await fetch(source);
  if (!response.ok) throw new PufferError(`${source}: ${response.status} ${response.statusText}`);
  return WebAssembly.compile(await response.arrayBuffer());
}
