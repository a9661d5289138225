import { PufferError } from "./errors.js";

/**
 * @typedef {Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array} Data
 * @typedef {{ shape: number[], data: Data }} Tensor
 */

/** @type {Record<string, new (buffer: ArrayBuffer) => Data>} */
const KINDS = { F64: Float64Array, I64: BigInt64Array, F32: Float32Array, I32: Int32Array, U8: Uint8Array };

/** @param {Data} data */
function kindOf(data) {
  const found = Object.entries(KINDS).find(([, kind]) => data instanceof kind);
  if (!found) throw new PufferError(`safetensors: ${data.constructor.name} is not written, only ${Object.keys(KINDS).join(", ")}`);
  return found[0];
}

/**
 * The bytes of a safetensors file: a length, a JSON header, the data, wider numbers first so that all are aligned.
 * @param {Map<string, Tensor>} tensors
 */
export function encode(tensors) {
  const order = Object.keys(KINDS);
  const rows = [...tensors].map(([name, tensor]) => ({ name, ...tensor, kind: kindOf(tensor.data) }));
  rows.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || (a.name < b.name ? -1 : 1));
  let end = 0;
  /** @type {Record<string, any>} */
  const header = {};
  for (const { name, kind, shape, data } of rows) {
    header[name] = { dtype: kind, shape, data_offsets: [end, (end += data.byteLength)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header)), padded = Math.ceil(text.length / 8) * 8;
  const file = new Uint8Array(8 + padded + end).fill(32, 8, 8 + padded);
  new DataView(file.buffer).setBigUint64(0, BigInt(padded), true);
  file.set(text, 8);
  for (const { name, data } of rows) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + padded + header[name].data_offsets[0]);
  }
  return file;
}

/**
 * The tensors of a safetensors file, copied.
 * @param {Uint8Array} file
 * @param {string} where its name, for messages
 * @returns {Map<string, Tensor>}
 */
export function decode(file, where) {
  const tensors = new Map();
  try {
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length)));
    const body = new Uint8Array(file.buffer, file.byteOffset + 8 + length, file.length - 8 - length); // a Buffer of node would not copy
    for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const Kind = KINDS[dtype];
      if (!Kind || !(0 <= begin && begin <= end && end <= body.length)) throw new RangeError(`${name}: ${dtype}, bytes ${begin} to ${end}`);
      const data = new Kind(body.slice(begin, end).buffer);
      if (data.length !== shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1)) throw new RangeError(`${name}: shape`);
      tensors.set(name, { shape, data });
    }
  } catch (error) {
    throw new PufferError(`${where} is not a safetensors file that can be read here: ${/** @type {Error} */ (error).message}`);
  }
  return tensors;
}
