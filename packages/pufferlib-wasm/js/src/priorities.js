/**
 * Prioritised minibatches: pufferlib_core.ops.priorities, with the random numbers of NumPy's `default_rng`. Powers are those of the
 * engine, which may differ from Python's in the last bit of a float64; what is made of them is float32 or a draw.
 */

const STREAM_PRIORITY = 6n << 48n; // pufferlib_core.seeding
const LEAST = 1e-6;
const POOL = 4; // words of NumPy's SeedSequence
const MASK = (1n << 128n) - 1n;
const MULTIPLIER = (2549297995355413924n << 64n) | 4865540595714422341n; // of PCG64

/** Words of a number, the lowest first. @param {bigint} x */
function words(x) {
  const found = [];
  for (let rest = x; rest > 0n || found.length === 0; rest >>= 32n) found.push(Number(rest & 0xffffffffn));
  return found;
}

/** NumPy's hash of words, whose constant goes on from call to call. @param {number} constant @param {number} factor */
function hasher(constant, factor) {
  let now = constant;
  return (/** @type {number} */ word) => {
    const mixed = word ^ now;
    now = Math.imul(now, factor);
    const value = Math.imul(mixed, now);
    return (value ^ (value >>> 16)) >>> 0;
  };
}

/** @param {number} x @param {number} y */
function mix(x, y) {
  const value = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) | 0;
  return (value ^ (value >>> 16)) >>> 0;
}

/** Eight words of the SeedSequence of some numbers. @param {bigint[]} numbers */
function seedWords(numbers) {
  const entropy = numbers.flatMap(words), hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, k) => hash(entropy[k] ?? 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  for (const word of entropy.slice(POOL)) {
    for (let to = 0; to < POOL; to++) pool[to] = mix(pool[to], hash(word));
  }
  const out = hasher(0x8b51f9dd, 0x58f38ded);
  return Array.from({ length: 8 }, (_, k) => out(pool[k % POOL]));
}

/** `default_rng(numbers).random`: PCG64 of O'Neill, XSL-RR. @param {bigint[]} numbers @returns {() => number} */
export function uniform(numbers) {
  const seeds = seedWords(numbers).map(BigInt);
  const [high, low, high2, low2] = [0, 2, 4, 6].map((k) => seeds[k] | (seeds[k + 1] << 32n));
  const increment = ((((high2 << 64n) | low2) << 1n) | 1n) & MASK;
  let state = (increment + ((high << 64n) | low)) & MASK;
  const advance = () => (state = (state * MULTIPLIER + increment) & MASK);
  advance();
  return () => {
    advance();
    const folded = BigInt.asUintN(64, (state >> 64n) ^ state), turn = state >> 122n;
    const word = BigInt.asUintN(64, (folded >> turn) | (folded << (64n - turn)));
    return Number(word >> 11n) * 2 ** -53;
  };
}

/**
 * What an update takes by priority.
 * @param {Float32Array} advantage (steps, n)
 * @param {Uint8Array} valid likewise
 * @param {{ steps: number, n: number, epochs: number, minibatch: number, alpha: number, beta: number, memory: boolean, seed: bigint,
 *   update: bigint }} options `memory`: the order names environments, else rows
 * @returns {{ order: Int32Array, importance: Float32Array }} for puf_batch
 */
export function prioritized(advantage, valid, { steps, n, epochs, minibatch, alpha, beta, memory, seed, update }) {
  const weight = Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let k = i; k < steps * n; k += n) sum += valid[k] ? Math.abs(advantage[k]) : 0;
    return sum ** alpha + LEAST;
  });
  const whole = weight.reduce((sum, one) => sum + one, 0), chances = weight.map((one) => one / whole);
  const factors = chances.map((chance) => (n * chance) ** -beta);
  const importance = Float32Array.from({ length: steps * n }, (_, k) => factors[k % n]);
  const drawn = draw(chances, epochs * n, uniform([seed, STREAM_PRIORITY, update]));
  if (memory) return { order: drawn, importance };
  const each = minibatch / steps, order = new Int32Array(epochs * steps * n);
  for (let k = 0; k < order.length; k++) { // minibatch by minibatch, in each row by row
    const batch = Math.floor(k / minibatch), t = Math.floor((k % minibatch) / each);
    order[k] = t * n + drawn[batch * each + (k % each)];
  }
  return { order, importance };
}

/** `Generator.choice` with replacement. @param {number[]} chances @param {number} count @param {() => number} random */
function draw(chances, count, random) {
  let sum = 0;
  const below = chances.map((chance) => (sum += chance)).map((one) => one / sum);
  return Int32Array.from({ length: count }, () => {
    const x = random();
    let low = 0, high = below.length;
    while (low < high) { // the first environment whose sum is above x
      const middle = (low + high) >> 1;
      if (below[middle] <= x) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}
