import { PufferError } from "./errors.js";

/**
 * What the module says of itself, see `pufferlib_wasm.catalogue`.
 * @typedef {{ kind: "int" | "float" | "bool" | "str", list: boolean, default: any, help: string, low?: number, high?: number,
 *   choices?: string[] }} Option
 * @typedef {{ size: number, fields: Record<string, [number, string, number]> }} Layout offset, kind and count of each field
 * @typedef {{ index: number, section: string, description: string, options: Record<string, Option>, struct: Layout, preset: any,
 *   obs_space: import("./spaces.js").Box, action_space: import("./spaces.js").Space, space_options: string[] }} Environment
 * @typedef {{ initial: number, maximum: number, stack: number }} Shared bytes of memory that threads share, and of a worker's stack in it
 * @typedef {{ version: number, memory: Shared | null, sections: Record<string, Record<string, Option>>, convolutions: Record<string, number[][]>,
 *   structs: Record<string, Layout>,
 *   enums: Record<string, Record<string, number>>, environments: Record<string, Environment> }} Catalogue
 * @typedef {number} Pointer
 */

/** @type {Record<string, { bytes: number, get: "getInt32" | "getUint32" | "getFloat32" | "getFloat64" | "getBigInt64", set: string }>} */
const KINDS = {
  int32_t: { bytes: 4, get: "getInt32", set: "setInt32" },
  uint32_t: { bytes: 4, get: "getUint32", set: "setUint32" },
  float: { bytes: 4, get: "getFloat32", set: "setFloat32" },
  double: { bytes: 8, get: "getFloat64", set: "setFloat64" },
  int64_t: { bytes: 8, get: "getBigInt64", set: "setBigInt64" },
};

const PAGE = 65536;

/** @param {Shared} bytes */
function sharedMemory({ initial, maximum }) {
  try {
    return new WebAssembly.Memory({ initial: initial / PAGE, maximum: maximum / PAGE, shared: true });
  } catch (error) {
    throw new PufferError(`there is no memory that threads share (${/** @type {Error} */ (error).message}): load puffer.wasm instead`);
  }
}

/** An instance of the module: its functions, and views of its linear memory. Views are stale once memory has grown. */
export class Instance {
  /**
   * @param {WebAssembly.Module} module
   * @param {Catalogue} catalogue
   * @param {import("./crew.js").Crew | null} [crew] with which it shares its work
   */
  constructor(module, catalogue, crew = null) {
    this.module = module;
    this.catalogue = catalogue;
    /** @type {any} */
    this.exports = new WebAssembly.Instance(module, catalogue.memory ? { env: { memory: sharedMemory(catalogue.memory) } } : {}).exports;
    this.status = this.alloc(4);
    if (crew) this.exports = crew.join(this);
  }

  /**
   * Zeroed memory that lives as long as the instance.
   * @param {number} bytes
   * @returns {Pointer}
   */
  alloc(bytes) {
    const at = this.exports.puf_web_alloc(bytes) >>> 0;
    if (at === 0) throw new PufferError(`memory of the module cannot grow by ${bytes} bytes: use fewer environments or a smaller policy`);
    return at;
  }

  /** @param {Pointer} at @param {number} length */
  u8(at, length) {
    return new Uint8Array(this.exports.memory.buffer, at, length);
  }

  /** @param {Pointer} at @param {number} length */
  i32(at, length) {
    return new Int32Array(this.exports.memory.buffer, at, length);
  }

  /** @param {Pointer} at @param {number} length */
  f32(at, length) {
    return new Float32Array(this.exports.memory.buffer, at, length);
  }

  /** @param {Pointer} at @param {number} length */
  f64(at, length) {
    return new Float64Array(this.exports.memory.buffer, at, length);
  }

  /** The C string at an address. @param {Pointer} at */
  string(at) {
    const bytes = new Uint8Array(this.exports.memory.buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }

  /**
   * A status that is not an error, or the exception for it.
   * @param {number} status
   * @param {string} where
   */
  check(status, where) {
    if (status < 0) throw new PufferError(`${where}: ${this.string(this.exports.puf_status_text(status) >>> 0)}`);
    return status;
  }

  /**
   * What a function that ends with `int32_t *status` creates.
   * @param {string} name
   * @param {string} where
   * @param {...(number | bigint)} args
   * @returns {Pointer}
   */
  create(name, where, ...args) {
    const at = this.exports[name](...args, this.status) >>> 0;
    this.check(this.i32(this.status, 1)[0], where);
    return at;
  }

  /**
   * A new struct.
   * @param {Layout} layout
   * @param {Record<string, number | number[] | boolean>} values by field; fields that are not named stay 0
   * @returns {Pointer}
   */
  struct(layout, values) {
    const at = this.alloc(layout.size);
    for (const [name, value] of Object.entries(values)) this.write(layout, at, name, value);
    return at;
  }

  /**
   * Writes a field.
   * @param {Layout} layout
   * @param {Pointer} at
   * @param {string} name
   * @param {number | bigint | boolean | readonly (number | bigint)[]} value
   */
  write(layout, at, name, value) {
    const [offset, kind] = layout.fields[name];
    const { bytes, set } = KINDS[kind];
    /** @type {any} */
    const view = new DataView(this.exports.memory.buffer, at, layout.size);
    const values = Array.isArray(value) ? value : [typeof value === "boolean" ? Number(value) : value];
    values.forEach((one, k) => view[set](offset + k * bytes, one, true));
  }

  /**
   * Reads a struct: numbers, and arrays of them.
   * @param {Layout} layout
   * @param {Pointer} at
   * @returns {Record<string, any>}
   */
  read(layout, at) {
    const view = new DataView(this.exports.memory.buffer, at, layout.size);
    /** @type {Record<string, any>} */
    const result = {};
    for (const [name, [offset, kind, count]] of Object.entries(layout.fields)) {
      const { bytes, get } = KINDS[kind];
      const values = Array.from({ length: count }, (_, k) => Number(view[get](offset + k * bytes, true)));
      result[name] = count > 1 ? values : values[0];
    }
    return result;
  }
}
