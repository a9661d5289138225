// Workers that share memory: the bits of one thread, and an end to each of them.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { Crew } from "../src/crew.js";
import { load } from "../src/index.js";
import { bytes } from "./modules.js";

const SOURCES = { plain: bytes("puffer.wasm"), threads: bytes("puffer-threads.wasm") };
const SCRIPT = new URL("../src/crew-worker.js", import.meta.url);
const crews = await Promise.all([1, 2, 3].map((threads) => load(SOURCES, { threads })));
const [alone, two] = crews;
after(() => Promise.all(crews.map((puffer) => puffer.close())));

const RUNS = {
  cartpole: { env: "cartpole", seed: 3, train: { num_envs: 100 }, ppo: { horizon: 16, minibatch: 400 } },
  lstm: {
    env: "memory", seed: 3, train: { num_envs: 64 }, policy: { core: "lstm", core_size: 16, normalize_obs: true },
    ppo: { horizon: 8, minibatch: 256, advantage: "vtrace", optimizer: "muon", prioritize: 0.5 },
  },
};

/** What a run has made of itself. @param {any} run */
async function told(run) {
  const files = await run.checkpoint();
  files.delete("manifest.json"); // has the time
  return files;
}

function updated(run, updates) {
  for (let k = 0; k < updates; k++) run.update();
  return run;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until a condition holds, for at most 20 seconds. */
async function until(condition, what) {
  const begin = performance.now();
  while (!condition()) {
    assert.ok(performance.now() - begin < 20_000, what);
    await pause(20);
  }
}

/** Workers that sleep in the memory of an instance. Waking them does no harm: they look, and sleep again. */
function asleep({ instance }) {
  const words = new Int32Array(instance.exports.memory.buffer);
  let found = 0;
  for (let k = 0; k < words.length; k++) found += Atomics.notify(words, k);
  return found;
}

test("the module with threads imports its memory and nothing else", () => {
  assert.deepEqual(WebAssembly.Module.imports(two.module), [{ module: "env", name: "memory", kind: "memory" }]);
});

for (const [name, settings] of Object.entries(RUNS)) {
  test(`20 updates of ${name} and its evaluation have the same bits with 1, 2 and 3 threads`, async () => {
    const runs = crews.map((puffer) => updated(puffer.train(settings), 20));
    const [wanted, ...others] = await Promise.all(runs.map(told));
    for (const files of others) assert.deepEqual(files, wanted);
    const [score, ...scores] = runs.map((run) => run.evaluate({ episodes: 150, seed: 1, stochastic: true }));
    for (const other of scores) assert.deepEqual(other, score);
  });
}

test("every environment steps the same with 1, 2 and 3 threads", () => {
  for (const env of alone.environments) {
    const vecs = crews.map((puffer) => puffer.vec(env, { numEnvs: 1500, seed: 2 }));
    vecs.forEach((vec) => vec.reset());
    for (let t = 0; t < 20; t++) vecs.forEach((vec) => vec.step());
    for (const vec of vecs) assert.deepEqual(vec.records(), vecs[0].records(), env);
  }
});

test("the workers are where the work is, with two runs at once", async () => {
  const wanted = await Promise.all(Object.values(RUNS).map((settings) => told(updated(alone.train(settings), 6))));
  const runs = Object.values(RUNS).map((settings) => two.train(settings)), [one, other] = runs;
  for (let k = 0; k < 6; k++) for (const run of runs) run.update();
  await until(() => asleep(other) === 1, "the worker has not come to the run that was served last");
  assert.equal(asleep(one), 0);
  one.player({ numEnvs: 2 }).step(); // too little to share: the worker stays
  await pause(50);
  assert.equal(asleep(other), 1);
  assert.deepEqual(await Promise.all(runs.map(told)), wanted);
});

/** Makes workers, and keeps count of those that have not ended. */
function counted() {
  const count = { made: 0, alive: 0, last: /** @type {any} */ (null) };
  const worker = () => {
    count.made++;
    count.alive++;
    count.last = new Worker(SCRIPT).on("exit", () => count.alive--);
    return count.last;
  };
  return { count, worker };
}

test("closed and made again 50 times, no worker stays", async () => {
  const { count, worker } = counted();
  const settings = { env: "bandit", train: { num_envs: 64 }, ppo: { horizon: 8, minibatch: 256 } };
  const module = await WebAssembly.compile(SOURCES.threads);
  for (let k = 0; k < 50; k++) {
    const puffer = await load(module, { threads: 2, worker });
    assert.equal(puffer.threads, 2);
    puffer.train(settings).update();
    await puffer.close();
    assert.equal(puffer.threads, 1);
  }
  assert.deepEqual([count.made, count.alive], [50, 0]);
});

test("a run goes on alone once its workers are gone", async () => {
  const puffer = await load(SOURCES, { threads: 3 });
  const run = updated(puffer.train(RUNS.lstm), 2);
  await puffer.close();
  await puffer.close();
  assert.deepEqual(await told(updated(run, 2)), await told(updated(alone.train(RUNS.lstm), 4)));
});

test("workers end with the last reference to what they work for", async () => {
  const { count, worker } = counted();
  await (async () => updated((await load(SOURCES, { threads: 2, worker })).train(RUNS.cartpole), 1))();
  count.last = null;
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  await until(() => (gc(), count.alive === 0), "the worker of what is gone lives");
});

test("a worker that does not start is an error, and the others end", async () => {
  const { count, worker } = counted();
  const refused = (make, message) => assert.rejects(load(SOURCES, { threads: 3, worker: make }), message);
  const second = (other) => {
    let calls = 0;
    return () => (calls++ === 0 ? worker() : other());
  };
  await refused(second(() => new Worker(new URL("nowhere.js", SCRIPT))), /threads=3: a worker did not start \(.*nowhere.js.*served beside/);
  await refused(second(() => new Worker("throw new Error('no luck')", { eval: true })), /did not start \(no luck\)/);
  await refused(second(() => new Worker("", { eval: true })), /did not start \(it ended\)/);
  await refused(second(() => { throw new Error("not allowed"); }), /did not start \(not allowed\)/);
  const silent = () => new Worker("setInterval(() => {}, 1000)", { eval: true });
  await assert.rejects(Crew.start(two.module, 2, silent, 0.1), /did not start \(no answer in 0.1 s\)/);
  await until(() => count.alive === 0, "a worker was left behind");
});

test("a worker that ends is told when the next work is to be shared", async () => {
  const { count, worker } = counted();
  const puffer = await load(SOURCES, { threads: 2, worker });
  await count.last.terminate();
  assert.throws(() => puffer.train(RUNS.cartpole).update(), /a worker has ended \(it ended\): close\(\) this module and load it again/);
  await puffer.close();
  updated(puffer.train(RUNS.cartpole), 1);
});

test("a worker that dies of a task ends the call, which does not wait for ever", async () => {
  const { count, worker } = counted();
  const dying = () => {
    const post = worker().postMessage.bind(count.last);
    // Below a stack at 0 there is no memory.
    count.last.postMessage = (order) => post(order instanceof WebAssembly.Module ? order : { ...order, stack: 0 });
    return count.last;
  };
  const puffer = await load(SOURCES, { threads: 2, worker: dying });
  assert.throws(() => {
    const begin = performance.now(), run = puffer.train(RUNS.cartpole);
    while (performance.now() - begin < 20_000) run.update();
  }, WebAssembly.RuntimeError);
  await until(() => count.alive === 0, "the worker lives");
  assert.throws(() => puffer.train(RUNS.lstm), /a worker has ended \(memory access out of bounds\)/);
});

test("where memory cannot be shared, one thread is taken or the reason told", async (t) => {
  const where = (name, value) => {
    Object.defineProperty(globalThis, name, { value, configurable: true });
    t.after(() => Reflect.deleteProperty(globalThis, name));
  };
  where("crossOriginIsolated", false);
  const puffer = await load(SOURCES, { threads: 4 });
  assert.equal(puffer.threads, 1);
  assert.match(puffer.obstacle, /not cross-origin isolated: serve it, and its workers, with the headers/);
  assert.equal(puffer.catalogue.memory, null);
  await assert.rejects(load(SOURCES.threads, { threads: 4 }), /threads=4: memory cannot be shared .*given \{ plain, threads \}/);
  where("crossOriginIsolated", true);
  assert.deepEqual([two.obstacle, (await load(SOURCES)).obstacle], [null, null]);
  where("document", {});
  assert.match((await load(SOURCES, { threads: 2 })).obstacle, /a page's main thread may not wait for others: load in a Worker/);
});

test("what is not legal says what and why", async () => {
  await assert.rejects(load(SOURCES.plain, { threads: 2 }), /threads=2: this module is for one thread: give puffer-threads.wasm/);
  for (const threads of [0, 1.5, 257]) await assert.rejects(load(SOURCES, { threads }), /threads=.* must be a whole number in \[1, 256\]/);
  const one = await load(SOURCES.threads); // its memory is shared with nobody
  assert.deepEqual(await told(updated(one.train(RUNS.cartpole), 1)), await told(updated(alone.train(RUNS.cartpole), 1)));
});
