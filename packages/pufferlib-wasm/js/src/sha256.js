/**
 * SHA-256 (FIPS 180-4) by hand: the browser's own is not there on pages that came by plain http.
 * Constants are the first 32 bits of what follows the point of the cube and square roots of the first primes (4.2.2, 5.3.3).
 */

const primes = Array.from({ length: 312 }, (_, n) => n).filter((n) => n > 1 && !Array.from({ length: n }, (_, k) => k).some((k) => k > 1 && n % k === 0));
/** @param {number} root */
const fraction = (root) => Math.floor((root % 1) * 2 ** 32);
const K = Int32Array.from(primes, (n) => fraction(Math.cbrt(n)));
const START = Uint32Array.from(primes.slice(0, 8), (n) => fraction(Math.sqrt(n)));

/** @param {number} x @param {number} by */
const turned = (x, by) => (x >>> by) | (x << (32 - by));

/**
 * The digest, in hexadecimal digits.
 * @param {Uint8Array} data
 */
export function sha256(data) {
  const tail = data.length % 64, padded = new Uint8Array(tail < 56 ? 64 : 128);
  padded.set(data.subarray(data.length - tail));
  padded[tail] = 0x80;
  new DataView(padded.buffer).setBigUint64(padded.length - 8, 8n * BigInt(data.length));
  const hash = START.slice(), w = new Int32Array(64);
  for (let at = 0; at + 64 <= data.length; at += 64) block(hash, w, data, at);
  for (let at = 0; at < padded.length; at += 64) block(hash, w, padded, at);
  return Array.from(hash, (word) => word.toString(16).padStart(8, "0")).join("");
}

/**
 * Takes in 64 bytes.
 * @param {Uint32Array} hash (8,), changed
 * @param {Int32Array} w (64,), scratch
 * @param {Uint8Array} data
 * @param {number} at
 */
function block(hash, w, data, at) {
  for (let t = 0, i = at; t < 16; t++, i += 4) w[t] = (data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3];
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15], y = w[t - 2];
    w[t] = w[t - 16] + (turned(x, 7) ^ turned(x, 18) ^ (x >>> 3)) + w[t - 7] + (turned(y, 17) ^ turned(y, 19) ^ (y >>> 10));
  }
  let a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
  for (let t = 0; t < 64; t++) {
    const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((word, k) => (hash[k] += word));
}
