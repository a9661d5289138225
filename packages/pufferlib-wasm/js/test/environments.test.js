// Trajectories equal CPython's byte for byte: the golden records of packages/pufferlib-envs, by the rule of tools/golden.py.
import assert from "node:assert/strict";
import { test } from "node:test";
import { golden, module, names } from "./modules.js";

/** The first word of Threefry-2x32-20 with key (3, 4). */
function word(counter0, counter1) {
  const keys = [3, 4, 0x1bd11bda ^ 3 ^ 4];
  let a = (counter0 + keys[0]) >>> 0, b = (counter1 + keys[1]) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (const turn of [[13, 15, 26, 6], [17, 29, 16, 24]][group % 2]) {
      a = (a + b) >>> 0;
      b = (((b << turn) | (b >>> (32 - turn))) ^ a) >>> 0;
    }
    a = (a + keys[(group + 1) % 3]) >>> 0;
    b = (b + keys[(group + 2) % 3] + group + 1) >>> 0;
  }
  return a;
}

/** FNV-1a of 64 bits in two halves, continued over the bytes of arrays. */
class Digest {
  high = 0xcbf29ce4;
  low = 0x84222325;

  add(array) {
    for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) {
      const low = (this.low ^ byte) >>> 0, product = low * 0x1b3; // times 2^40 + 0x1b3, below 2^53
      this.high = (Math.imul(this.high, 0x1b3) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
      this.low = product >>> 0;
    }
  }

  toString() {
    return [this.high, this.low].map((half) => half.toString(16).padStart(8, "0")).join("");
  }
}

function act(vec, t) {
  const { actions } = vec.spaces, to = vec.action;
  for (let k = 0; k < to.length; k++) {
    const drawn = word(t, k);
    to[k] = actions ? Math.floor((drawn * actions[k % actions.length]) / 2 ** 32) : Math.fround(-2 + 4 * ((drawn >>> 8) * 2 ** -24));
  }
}

for (const file of names) {
  const puffer = await module(file);
  for (const env of puffer.environments) {
    test(`${env} of ${file} has the golden trajectory`, () => {
      const record = golden(env);
      const vec = puffer.vec(env, { numEnvs: record.num_envs, seed: record.seed });
      const size = vec.spaces.obsSize, { obs } = vec.reset();
      assert.deepEqual(record.first_obs, Array.from({ length: record.num_envs }, (_, i) => Array.from(obs.slice(i * size, (i + 1) * size))));
      const digest = new Digest(), digests = [];
      let episodes = 0;
      for (let t = 0; t < record.steps; t++) {
        act(vec, t);
        const step = vec.step();
        episodes += step.finished;
        for (const plane of [step.obs, step.reward, step.terminated, step.truncated]) digest.add(plane);
        if ((t + 1) % record.digest_every === 0) digests.push(`${digest}`);
      }
      assert.deepEqual({ episodes, digests }, { episodes: record.episodes, digests: record.digests });
    });
  }
}

test("records fork an environment, random stream included", async () => {
  const puffer = await module();
  const [one, other] = [5, 6].map((seed) => puffer.vec("cartpole", { numEnvs: 3, seed }));
  one.reset();
  for (let t = 0; t < 40; t++) one.step([t % 2, 1, 0]);
  other.restore(one.records());
  for (let t = 0; t < 100; t++) {
    const seen = one.step([1, t % 2, 0]).obs.slice();
    assert.deepEqual(other.step([1, t % 2, 0]).obs, seen);
  }
});

test("an episode that ended is told once, with its return and length", async () => {
  const vec = (await module()).vec("bandit", { numEnvs: 2, config: { arms: 2, best: 1, high: 1, low: 0 } });
  vec.reset();
  assert.equal(vec.step([1, 0]).finished, 2);
  assert.deepEqual(vec.episodes(), [{ env: 0, return: 1, length: 1, metrics: [] }, { env: 1, return: 0, length: 1, metrics: [] }]);
});

test("what is not legal says what and why", async () => {
  const puffer = await module();
  assert.throws(() => puffer.vec("cart"), /env=cart: no such environment; did you mean cartpole\?/);
  assert.throws(() => puffer.vec("cartpole", { config: { gravity: -1 } }), /cartpole.gravity=-1 must be in/);
  assert.throws(() => puffer.vec("cartpole", { config: { mass: 1 } }), /unknown setting cartpole.mass/);
  assert.throws(() => puffer.vec("bandit", { config: { arms: 2 } }), /bandit with 1 environments/); // best=3 is beyond
  assert.throws(() => puffer.vec("cartpole", { seed: -1 }), /seed=-1/);
  assert.throws(() => puffer.vec("cartpole", { numEnvs: 1e9 }), /bytes: use fewer|memory|allocate/);
  const vec = puffer.vec("cartpole", { numEnvs: 2 });
  assert.throws(() => vec.step([0, 1]), /call reset first/);
  vec.reset();
  assert.throws(() => vec.step([0]), /action must hold 2 numbers, got 1/);
  assert.throws(() => vec.step([0, 2]), /is an action out of range/);
});
