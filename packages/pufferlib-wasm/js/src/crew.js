import { PufferError } from "./errors.js";

/**
 * Where a crew can work: an instance's functions, memory, and its `puf_crew`; `stacks` lie one after the other, one for each worker.
 * @typedef {{ exports: any, memory: WebAssembly.Memory, at: number, stacks: number, stack: number }} Place
 * @typedef {() => any} MakeWorker a new Worker of crew-worker.js: the page's kind or node's
 */

const SECONDS = 30; // for a worker to start
export const MOST = 256; // PUF_MAX_THREADS

/** Why this thread cannot share its work, as a sentence that says what helps; null if it can. */
export function obstacle() {
  if (typeof document !== "undefined") return "a page's main thread may not wait for others: load in a Worker";
  if (typeof SharedArrayBuffer !== "undefined" && globalThis.crossOriginIsolated !== false) return null;
  return (
    "memory cannot be shared because the page is not cross-origin isolated: serve it, and its workers, with the headers " +
    "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp"
  );
}

/** @type {() => Promise<any>} */
async function ownWorker() {
  if (typeof Worker !== "undefined") return new Worker(new URL("./crew-worker.js", import.meta.url), { type: "module" });
  const node = await import(/* @vite-ignore */ String("node:worker_threads"));
  return new node.Worker(new URL("./crew-worker.js", import.meta.url), { execArgv: [] });
}

/**
 * Calls back with each message of a worker, and with what ends it.
 * @param {any} worker
 * @param {(message: any) => void} onMessage
 * @param {(reason: string) => void} onEnd
 */
function listen(worker, onMessage, onEnd) {
  const failed = (/** @type {any} */ error) => onEnd(error?.message || "its script did not load");
  if (worker.on) {
    worker.on("message", onMessage).on("error", failed).on("exit", () => onEnd("it ended"));
  } else {
    worker.onmessage = (/** @type {any} */ event) => onMessage(event.data);
    worker.onerror = failed;
  }
}

/**
 * Resolves once a worker has the module.
 * @param {any} worker
 * @param {WebAssembly.Module} module
 * @param {{ failure: string | null }} health where a later end is noted
 * @param {number} seconds
 * @returns {Promise<void>}
 */
function ready(worker, module, health, seconds) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(`no answer in ${seconds} s`), seconds * 1000);
    const end = (/** @type {string} */ reason) => {
      health.failure ??= reason;
      clearTimeout(late);
      reject(reason);
    };
    const begin = () => {
      clearTimeout(late);
      worker.unref?.(); // node ends although it waits for work
      resolve();
    };
    listen(worker, begin, end);
    worker.postMessage(module);
  });
}

/** @param {any[]} workers */
const end = (workers) => Promise.all(workers.map((worker) => worker.terminate()));

/** Ends the workers of a crew that nothing refers to any more. */
const forgotten = new FinalizationRegistry(end);

/**
 * Workers that share the work of the thread that made them, in the memory of one instance at a time: of the one that calls. Those that
 * are late hold nobody up, because whoever calls does what has not been begun.
 */
export class Crew {
  /** @type {Place | null} */
  #place = null;
  #term = 0;

  /**
   * @param {any[]} workers
   * @param {{ failure: string | null }} health
   */
  constructor(workers, health) {
    this.workers = workers;
    this.health = health;
    forgotten.register(this, workers, this);
  }

  /**
   * @param {WebAssembly.Module} module
   * @param {number} threads with the one that calls
   * @param {MakeWorker} [make]
   * @param {number} [seconds]
   */
  static async start(module, threads, make = ownWorker, seconds = SECONDS) {
    /** @type {any[]} */
    const workers = [];
    const health = { failure: null };
    try {
      for (let k = 1; k < threads; k++) workers.push(await make());
      await Promise.all(workers.map((worker) => ready(worker, module, health, seconds)));
    } catch (reason) {
      await end(workers);
      const said = reason instanceof Error ? reason.message : reason;
      throw new PufferError(`threads=${threads}: a worker did not start (${said}): is crew-worker.js served beside the package? threads: 1 needs none`);
    }
    return new Crew(workers, health);
  }

  /** With the one that calls. */
  get threads() {
    return this.workers.length + 1;
  }

  /**
   * The functions of an instance, so that the crew is there when one of them is called that shares its work.
   * @param {import("./instance.js").Instance} instance whose memory is shared
   * @returns {any}
   */
  join(instance) {
    const { exports, catalogue } = instance, { stack } = /** @type {import("./instance.js").Shared} */ (catalogue.memory);
    const at = instance.create("puf_web_crew_create", "threads", this.threads);
    /** @type {Place} */
    const place = { exports, memory: exports.memory, at, stack, stacks: instance.alloc(this.workers.length * stack) };
    const shared = (/** @type {string} */ name) => (/** @type {any[]} */ ...args) => {
      this.#serve(place);
      return exports[name](...args);
    };
    return { ...exports, ...Object.fromEntries(SHARING.map((name) => [name, shared(name)])) };
  }

  /** @param {Place} place */
  #serve(place) {
    if (this.#place === place || this.workers.length === 0) return;
    if (this.health.failure) throw new PufferError(`a worker has ended (${this.health.failure}): close() this module and load it again`);
    this.#leave();
    this.#place = place;
    const { exports, memory, at, stacks, stack } = place, term = ++this.#term;
    exports.puf_crew_call(at, term);
    this.workers.forEach((worker, k) => worker.postMessage({ memory, at, number: k + 1, stack: stacks + (k + 1) * stack, term }));
  }

  #leave() {
    this.#place?.exports.puf_crew_call(this.#place.at, 0);
    this.#place = null;
  }

  /** Ends the workers; instances go on alone. */
  async close() {
    this.#leave();
    forgotten.unregister(this);
    await end(this.workers.splice(0));
  }
}

/** Functions of the module that share their work. */
const SHARING = [
  "puf_web_vec_reset", "puf_web_vec_step", "puf_web_player_step", "puf_web_run_create", "puf_web_run_collect", "puf_web_run_update",
];
