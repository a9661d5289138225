import assert from "node:assert/strict";
import { test } from "node:test";
import { dumps } from "../src/json.js";
import { module, names } from "./modules.js";

const SMALL = { train: { num_envs: 16, timesteps: 25600, stop_return: null }, ppo: { horizon: 32, minibatch: 256 } };
const cartpole = (more = {}) => ({ env: "cartpole", seed: 3, ...SMALL, ...more });

function updated(run, updates) {
  let metrics = {};
  for (let k = 0; k < updates; k++) metrics = run.update();
  return metrics;
}

/** Largest gap between the tensors of two runs, relative to the largest number, or to 1 if that is larger. */
function gap(one, other) {
  const a = one.tensors(), b = other.tensors();
  assert.deepEqual([...a.keys()], [...b.keys()]);
  return Math.max(...[...a].map(([name, { data }]) => {
    const size = Math.max(1, ...data.map(Math.abs));
    return Math.max(...data.map((x, k) => Math.abs(x - b.get(name).data[k]))) / size;
  }));
}

test("the modules import nothing and are small", async () => {
  for (const name of names) {
    const { module: compiled } = await module(name);
    assert.deepEqual(WebAssembly.Module.imports(compiled), []);
  }
});

test("a run learns to balance the pole", async () => {
  const run = (await module()).train(cartpole({ ppo: { ...SMALL.ppo, learning_rate: 0.006 } }));
  const before = run.evaluate({ episodes: 10, seed: 1 });
  assert.equal(run.done, false);
  let metrics = {};
  while (!run.done) metrics = run.update();
  assert.equal(run.steps, 25600);
  assert.ok(metrics["episode/return_mean"] > 100 && metrics["schedule/gradient_steps"] === 400, JSON.stringify(metrics));
  const after = run.evaluate({ episodes: 10, seed: 1 });
  assert.deepEqual([after.env, after.episodes], ["cartpole", 10]);
  assert.ok(before.episode_return_mean < 100 && after.episode_return_mean > 150, JSON.stringify([before, after]));
});

test("vectors change what is learnt by rounding alone", async () => {
  const [fast, plain] = await Promise.all(names.map(module));
  for (const more of [{}, { policy: { core: "gru", core_size: 8, separate: true } }]) {
    const runs = [fast, plain].map((puffer) => puffer.train(cartpole(more)));
    assert.equal(gap(...runs), 0); // initial parameters are the same
    runs.forEach((run) => updated(run, 2));
    assert.ok(gap(...runs) > 0 && gap(...runs) < 1e-4, `${gap(...runs)}`);
  }
  const small = (env, policy, ppo) => ({ env, policy, train: { num_envs: 8 }, ppo: { horizon: 16, minibatch: 64, ...ppo } });
  const others = [
    small("cartpole", {}, { kl_coef: 0.2, kl_target: 0.004 }),
    small("catch", {}, { prioritize: 0.6 }),
    small("deep_sea", {}, { optimizer: "muon" }),
    small("catch", { conv: ["6:3:1", "4:2:2"], hidden: [16] }, {}),
    small("pendulum", { squash: true }, {}),
  ];
  for (const settings of others) {
    const runs = [fast, plain].map((puffer) => puffer.train(settings));
    runs.forEach((run) => updated(run, 1));
    assert.ok(gap(...runs) > 0 && gap(...runs) < 1e-4, `${JSON.stringify(settings)}: ${gap(...runs)}`);
  }
});

test("a run that was saved goes on bit for bit", async () => {
  const puffer = await module();
  const cases = [
    cartpole(),
    { env: "pendulum", train: { num_envs: 4 }, ppo: { horizon: 16, minibatch: 32 } }, // normalises observations
    { env: "memory", train: { num_envs: 8 }, policy: { core: "lstm", core_size: 8 }, ppo: { horizon: 8, minibatch: 32, kl_coef: 0.1 } },
    { env: "catch", train: { num_envs: 8 }, policy: { conv: ["4:3:1"] }, ppo: { horizon: 8, minibatch: 32, advantage: "vtrace" } },
    { env: "pendulum", pendulum: { max_torque: 1.3 }, train: { num_envs: 4 }, policy: { squash: true, core: "gru", core_size: 8 },
      ppo: { horizon: 16, minibatch: 32, kl_coef: 0.2, kl_target: 0.003, prioritize: 0.5, optimizer: "muon" } },
  ];
  for (const settings of cases) {
    const run = puffer.train(settings);
    updated(run, 3);
    const files = await run.checkpoint();
    const other = await puffer.resume(files);
    assert.equal(other.steps, run.steps);
    assert.deepEqual(updated(other, 2), updated(run, 2));
    assert.equal(gap(run, other), 0);
    const [mine, theirs] = [await run.checkpoint(), await other.checkpoint()];
    for (const [name, data] of mine) if (name !== "manifest.json") assert.deepEqual(theirs.get(name), data, name);
  }
});

test("a player has the policy that it was given, and follows", async () => {
  const puffer = await module();
  const run = puffer.train(cartpole());
  const player = run.player({ numEnvs: 3 });
  const same = puffer.player("cartpole", { numEnvs: 3, seed: 3, tensors: run.tensors() });
  updated(run, 2);
  for (let t = 0; t < 50; t++) assert.deepEqual(player.step().obs, same.step().obs);
  const value = player.value.slice();
  player.load(run.tensors());
  player.step();
  assert.notDeepEqual(player.value, value);
  const read = new Map([...(await run.checkpoint())].map(([name, data]) => [name, Buffer.from(data)])); // as node reads files
  const loaded = await puffer.load(read, { numEnvs: 3, seed: 3 });
  assert.deepEqual([...loaded.policy.tensors()], [...run.tensors()]);
});

test("tensors have the names and shapes of PolicySpec", async () => {
  const puffer = await module();
  const names = (settings) => Object.fromEntries([...puffer.train(settings).tensors()].map(([name, { shape }]) => [name, shape.join()]));
  assert.deepEqual(names({ env: "pendulum", policy: { hidden: [8] } }), {
    "actor.0.weight": "8,3", "actor.0.bias": "8", "policy.weight": "1,8", "policy.bias": "1",
    "critic.0.weight": "8,3", "critic.0.bias": "8", "value.weight": "1,8", "value.bias": "1", log_std: "1",
    "obs_norm/mean": "3", "obs_norm/var": "3", "obs_norm/count": "1",
  });
  assert.equal(names({ env: "cartpole", policy: { core: "gru", core_size: 4 } })["trunk.core.state"], "12,4");
});

test("a damaged checkpoint says what is wrong", async () => {
  const puffer = await module(), run = puffer.train(cartpole());
  const files = await run.checkpoint();
  const changed = (name, edit) => new Map(files).set(name, edit(files.get(name).slice()));
  const flip = (data) => ((data[data.length >> 1] ^= 1), data);
  await assert.rejects(puffer.resume(changed("policy.safetensors", flip)), /policy.safetensors: its SHA-256 differs/);
  await assert.rejects(puffer.resume(changed("trainer.safetensors", (data) => data.slice(0, 99))), /99 bytes, the manifest says/);
  const edited = (from, to) => (data) => new TextEncoder().encode(new TextDecoder().decode(data).replace(from, to));
  await assert.rejects(puffer.resume(changed("manifest.json", edited('"step": 0', '"step": 1'))), /its digest does not match/);
  await assert.rejects(puffer.resume(changed("manifest.json", edited("pufferlib-checkpoint", "parcel"))), /belongs to something else/);
  await assert.rejects(puffer.resume(new Map([...files].slice(1))), /policy.safetensors: is missing/);
  await assert.rejects(puffer.resume(changed("manifest.json", (data) => data.slice(9))), /is not JSON/);
});

test("JSON is written as Python writes it", () => {
  const numbers = [0.1, 1e-4, 1e-5, -2.5e-7, 123456, 9007199254740991, 1e16, 1.2345678901234568e17, 1e22, 1.5e300, 5e-324, 1n << 63n];
  const python = "[0.1,0.0001,1e-05,-2.5e-07,123456,9007199254740991,1e+16,1.2345678901234568e+17,1e+22,1.5e+300,5e-324,9223372036854775808]";
  assert.equal(dumps(numbers, false), python);
  assert.equal(dumps({ b: [true, null], a: "\u00e9\n\u{1f421}\u007f", c: {}, d: [] }, true),
    '{\n "a": "\\u00e9\\n\\ud83d\\udc21\u007f",\n "b": [\n  true,\n  null\n ],\n "c": {},\n "d": []\n}');
  assert.throws(() => dumps([NaN], false), /cannot hold the number NaN/);
});

test("settings are checked by the rules of Python", async () => {
  const puffer = await module();
  const refused = (settings, message) => assert.throws(() => puffer.train({ env: "cartpole", ...settings }), message);
  refused({ ppo: { gama: 1 } }, /unknown setting ppo.gama/);
  refused({ ppo: { gamma: 2 } }, /ppo.gamma=2 must be in \[0, 1\]/);
  refused({ ppo: { epochs: 1.5 } }, /ppo.epochs must be int, got 1.5/);
  refused({ ppo: { schedule: "cos" } }, /ppo.schedule=cos must be one of constant, linear, cosine/);
  refused({ ppo: { minibatch: 500 } }, /ppo.minibatch=500 does not divide train.num_envs \* ppo.horizon = 2048/);
  refused({ ppo: { minibatch: 16 }, policy: { core: "gru" } }, /must hold whole sequences/);
  refused({ ppo: { prioritize: 0.5, minibatch: 16 } }, /because ppo.prioritize=0.5 draws environments/);
  refused({ ppo: { prioritize: 1e-9 } }, /ppo.prioritize=1e-9 must be at least 1e-6, or 0 for none/);
  refused({ ppo: { prioritize: 1e39 } }, /ppo.prioritize=1e\+39 must be in \[0, 100\]/);
  refused({ ppo: { kl_target: 0.01 } }, /ppo.kl_target=0.01 adapts ppo.kl_coef, which is 0/);
  refused({ ppo: { dual_clip: 0.5 } }, /ppo.dual_clip=0.5 must be above 1/);
  refused({ policy: { squash: true } }, /actions are Discrete and have no real numbers/);
  refused({ policy: { encoder: [8] } }, /policy.encoder=\[8\] is not possible in WebAssembly: leave it at \[\]/);
  refused({ policy: { conv: ["3:1"] } }, /"3:1" is neither filters:kernel:stride/);
  refused({ policy: { conv: ["3:1:1"] } }, /needs an image, .*; observations have the shape \(4\)/);
  refused({ env: "catch", policy: { conv: Array(5).fill("3:1:1") } }, /policy.conv must have at most 4 layers, got 5/);
  refused({ env: "catch", policy: { conv: ["nature"] } }, /policy: /); // kernels of 8 do not fit 10x5
  refused({ train: { lag: 1 } }, /train.lag=1 needs a thread/);
  refused({ policy: { hidden: [] } }, /policy.hidden must have 1 to 8 numbers, got 0/);
  refused({ policy: { hidden: "64" } }, /policy.hidden must be a list/);
  refused({ algorithm: "dqn" }, /algorithm=dqn does not run here, only ppo/);
  refused({ pendulum: {} }, /unknown setting pendulum/);
  refused({ train: { num_envs: 1 << 23 } }, /smaller than|memory/);
});

test("what may be chosen is told, and may be chosen", async () => {
  const puffer = await module();
  const { train, ppo, policy, cartpole: own } = puffer.options("cartpole");
  assert.deepEqual(Object.keys(train).sort(), ["num_envs", "stop_return", "timesteps"]);
  assert.deepEqual([ppo.learning_rate.start, ppo.learning_rate.default, own.length.start], [0.006, 0.0003, 0.5]);
  assert.deepEqual(["squash" in policy, "module" in policy], [true, false]); // a network of one's own is not possible in WebAssembly
  for (const env of puffer.environments) {
    const starts = Object.entries(puffer.options(env)).map(([part, options]) => [part, Object.fromEntries(Object.entries(options).map(([name, { start }]) => [name, start]))]);
    assert.equal(puffer.train({ env, ...Object.fromEntries(starts) }).done, false);
  }
});
