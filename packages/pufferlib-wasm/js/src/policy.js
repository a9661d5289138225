import { PufferError } from "./errors.js";
import { packed, seedOf } from "./settings.js";
import { squashBounds } from "./spaces.js";

/**
 * @typedef {import("./instance.js").Instance} Instance
 * @typedef {import("./safetensors.js").Tensor} Tensor
 * @typedef {Map<string, Tensor>} Tensors
 * @typedef {{ name: string, shape: number[], offset: number, size: number, hidden: boolean }} Place of a tensor in the flat
 *   parameters; `hidden`: Muon serves it
 */

const PARTS = ["trunk", "actor", "critic", "policy", "value", "log_std"];

/**
 * The name of a tensor, as `PolicySpec.tensors` gives it.
 * @param {Record<string, number>} tensor a puf_tensor
 */
function nameOf({ part, encoder, layer, bias }) {
  const tower = PARTS[part];
  if (tower === "log_std") return tower;
  if (encoder >= 0) return `${tower}.encoder.${encoder}.${layer}.${bias ? "bias" : "weight"}`;
  if (encoder === -2) return `${tower}.core.${bias ? "bias" : ["input", "state"][layer]}`;
  return `${tower}${part < 3 ? `.${layer}` : ""}.${bias ? "bias" : "weight"}`;
}

/**
 * Filters, kernel and stride of each convolution: those of a name, or as `filters:kernel:stride`.
 * @param {string[]} described
 * @param {Record<string, number[][]>} known by name
 */
function convolutions(described, known) {
  if (described.length === 1 && known[described[0]]) return known[described[0]];
  return described.map((text) => {
    if (!/^[1-9]\d{0,3}(:[1-9]\d{0,3}){2}$/.test(text)) {
      throw new PufferError(`policy.conv: "${text}" is neither filters:kernel:stride (such as 32:8:4) nor one of ${Object.keys(known).join(", ")} alone`);
    }
    return text.split(":").map(Number);
  });
}

/**
 * The fields of `puf_web_policy_config` that say what reads images.
 * @param {number[][]} convs
 * @param {number[]} shape of observations
 * @param {number} room
 * @returns {Record<string, number | number[]>}
 */
function reader(convs, shape, room) {
  if (convs.length === 0) return {};
  if (shape.length !== 2 && shape.length !== 3) {
    throw new PufferError(`policy.conv needs an image, a Box (height, width[, channels]); observations have the shape (${shape.join(", ")})`);
  }
  if (3 * convs.length > room) throw new PufferError(`policy.conv must have at most ${room / 3} layers, got ${convs.length}`);
  return { conv_count: convs.length, conv: convs.flat(), image: [...shape, 1].slice(0, 3) };
}

/** A network with its parameters and statistics of observations, in an instance of the module. */
export class Policy {
  /**
   * @param {import("./vec.js").Vec} vec whose spaces it has
   * @param {Record<string, any>} config the section `policy`, resolved
   * @param {number | bigint} seed of its initial parameters
   */
  constructor(vec, config, seed) {
    const { instance } = vec, { sections, structs, convolutions: known } = instance.catalogue, layout = structs.puf_web_policy_config;
    this.convs = convolutions(config.conv, known);
    const { obs, action } = this.convs.length || config.squash ? vec.known() : {};
    const read = obs ? reader(this.convs, obs.shape, layout.fields.conv[2]) : {};
    const bounds = action && config.squash ? squashBounds(action) : [];
    const c = instance.struct(layout, { ...packed(sections.policy, config, layout, "policy", ["conv"]), ...read });
    this.instance = instance;
    this.config = config;
    this.obsSize = vec.spaces.obsSize;
    this.at = instance.create("puf_web_policy_create", "policy", vec.infoAt, c, seedOf(seed));
    instance.f32(instance.exports.puf_web_policy_bounds(this.at) >>> 0, bounds.length).set(bounds);
    const net = instance.exports.puf_web_policy_net(this.at);
    this.params = Number(instance.exports.puf_net_params(net));
    this.carry = instance.exports.puf_net_carry(net);
    this.paramsAt = instance.exports.puf_web_policy_params(this.at) >>> 0;
    this.momentsAt = instance.exports.puf_web_policy_moments(this.at) >>> 0;
    this.places = this.#places(net);
  }

  /**
   * @param {number} net
   * @returns {Place[]}
   */
  #places(net) {
    const { instance } = this, layout = instance.catalogue.structs.puf_tensor, at = instance.alloc(layout.size);
    return Array.from({ length: instance.exports.puf_net_tensors(net) }, (_, index) => {
      instance.check(instance.exports.puf_net_tensor(net, index, at), `tensor ${index}`);
      const t = instance.read(layout, at), name = nameOf(/** @type {any} */ (t));
      const size = t.rows * t.cols, vector = t.bias === 1 || name === "log_std";
      const kernel = t.encoder < 0 ? 0 : this.convs[t.layer][1], matrix = [t.rows, t.cols];
      const shape = vector ? [size] : kernel ? [t.rows, t.cols / kernel ** 2, kernel, kernel] : matrix;
      return { name, shape, offset: t.offset, size, hidden: t.hidden === 1 };
    });
  }

  /**
   * Where the moments of an optimiser lie: means of gradients, and of their squares for what Adam serves.
   * @param {boolean} muon
   * @returns {{ m: Place[], v: Place[] }}
   */
  moments(muon) {
    let offset = 0;
    const m = this.places.map((place) => ({ ...place, name: `${muon && place.hidden ? "muon/momentum" : "adam/m"}/${place.name}` }));
    const v = this.places.filter(({ hidden }) => !muon || !hidden).map((place) => {
      offset += place.size;
      return { ...place, name: `adam/v/${place.name}`, offset: offset - place.size };
    });
    return { m, v };
  }

  /**
   * The named tensors of a flat vector, copied.
   * @param {number} at
   * @param {Place[]} [places] parameters unless told
   * @returns {Tensors}
   */
  split(at, places = this.places) {
    return new Map(places.map(({ name, shape, offset, size }) => [name, { shape, data: this.instance.f32(at + 4 * offset, size).slice() }]));
  }

  /**
   * Writes named tensors into a flat vector.
   * @param {Tensors} tensors
   * @param {number} at
   * @param {Place[]} [places]
   */
  join(tensors, at, places = this.places) {
    for (const { name, shape, offset, size } of places) {
      this.instance.f32(at + 4 * offset, size).set(tensorOf(tensors, name, Float32Array, shape));
    }
  }

  /**
   * Parameters, and `obs_norm/...` where the policy normalises: what acting needs, copied.
   * @returns {Tensors}
   */
  tensors() {
    const tensors = this.split(this.paramsAt), n = this.obsSize;
    if (!this.momentsAt) return tensors;
    const moments = this.instance.f64(this.momentsAt, 2 * n + 1).slice();
    tensors.set("obs_norm/mean", { shape: [n], data: moments.slice(0, n) });
    tensors.set("obs_norm/var", { shape: [n], data: moments.slice(n, 2 * n) });
    tensors.set("obs_norm/count", { shape: [1], data: moments.slice(2 * n) });
    return tensors;
  }

  /**
   * Acts from now on with these tensors, which `tensors` gave here or Python wrote.
   * @param {Tensors} tensors
   */
  load(tensors) {
    const n = this.obsSize;
    this.join(tensors, this.paramsAt);
    if (this.momentsAt) {
      const moments = this.instance.f64(this.momentsAt, 2 * n + 1);
      moments.set(tensorOf(tensors, "obs_norm/mean", Float64Array, [n]));
      moments.set(tensorOf(tensors, "obs_norm/var", Float64Array, [n]), n);
      moments.set(tensorOf(tensors, "obs_norm/count", Float64Array, [1]), 2 * n);
    }
    this.instance.check(this.instance.exports.puf_web_policy_load(this.at), "policy");
  }
}

/**
 * One of named tensors, of a kind and shape.
 * @template {import("./safetensors.js").Data} T
 * @param {Tensors} tensors
 * @param {string} name
 * @param {new (...args: any[]) => T} kind
 * @param {number[]} shape
 * @returns {T}
 */
export function tensorOf(tensors, name, kind, shape) {
  const found = tensors.get(name);
  if (!found || !(found.data instanceof kind) || found.shape.join() !== shape.join()) {
    const came = found ? `got ${found.data.constructor.name} of shape (${found.shape.join(", ")})` : "it is missing";
    throw new PufferError(`tensor ${name} must be ${kind.name} of shape (${shape.join(", ")}); ${came}`);
  }
  return found.data;
}
