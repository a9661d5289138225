import { load, type Puffer } from "pufferlib-wasm";

/** File names of the modules beside the page: with 128-bit vectors, and without. */
const FILES = { simd: "puffer.wasm", scalar: "puffer-scalar.wasm" };

export type Kind = keyof typeof FILES;

/**
 * The module that a worker trains with: the only place that makes one.
 * @param base address of the folder of the page
 */
export function makePuffer(kind: Kind, base: string): Promise<Puffer> {
  return load(new URL(FILES[kind], base));
}
