import { PufferError } from "./errors.js";
import { packed, seedOf } from "./settings.js";

/**
 * @typedef {import("./instance.js").Instance} Instance
 * @typedef {import("./safetensors.js").Tensor} Tensor
 * @typedef {Map<string, Tensor>} Tensors
 * @typedef {{ name: string, shape: number[], offset: number, size: number }} Place of a tensor in the flat parameters
 */

const PARTS = ["trunk", "actor", "critic", "policy", "value", "log_std"];

/**
 * The name of a tensor, as `PolicySpec.tensors` gives it.
 * @param {Record<string, number>} tensor a puf_tensor
 */
function nameOf({ part, encoder, layer, bias }) {
  const tower = PARTS[part];
  if (tower === "log_std") return tower;
  if (encoder === -2) return `${tower}.core.${bias ? "bias" : ["input", "state"][layer]}`;
  return `${tower}${part < 3 ? `.${layer}` : ""}.${bias ? "bias" : "weight"}`;
}

/** A network with its parameters and statistics of observations, in an instance of the module. */
export class Policy {
  /**
   * @param {import("./vec.js").Vec} vec whose spaces it has
   * @param {Record<string, any>} config the section `policy`, resolved
   * @param {number | bigint} seed of its initial parameters
   */
  constructor(vec, config, seed) {
    const { instance } = vec, { sections, structs } = instance.catalogue;
    const c = instance.struct(structs.puf_web_policy_config, packed(sections.policy, config, structs.puf_web_policy_config, "policy"));
    this.instance = instance;
    this.config = config;
    this.obsSize = vec.spaces.obsSize;
    this.at = instance.create("puf_web_policy_create", "policy", vec.infoAt, c, seedOf(seed));
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
      const vector = t.bias === 1 || name === "log_std";
      return { name, shape: vector ? [t.rows * t.cols] : [t.rows, t.cols], offset: t.offset, size: t.rows * t.cols };
    });
  }

  /**
   * The named tensors of a flat vector of parameters, copied.
   * @param {number} at
   * @param {string} [prefix]
   * @returns {Tensors}
   */
  split(at, prefix = "") {
    return new Map(
      this.places.map(({ name, shape, offset, size }) => [prefix + name, { shape, data: this.instance.f32(at + 4 * offset, size).slice() }]),
    );
  }

  /**
   * Writes named tensors into a flat vector.
   * @param {Tensors} tensors
   * @param {number} at
   * @param {string} [prefix]
   */
  join(tensors, at, prefix = "") {
    for (const { name, shape, offset, size } of this.places) {
      this.instance.f32(at + 4 * offset, size).set(tensorOf(tensors, prefix + name, Float32Array, shape));
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
