/**
 * A worker of a crew (crew.js), in a browser or under node: works in one memory after another, as it is told.
 * @typedef {{ memory: WebAssembly.Memory, at: number, number: number, stack: number, term: number }} Order
 */

/** @type {any} */
const port = "WorkerGlobalScope" in globalThis ? globalThis : (await import(/* @vite-ignore */ String("node:worker_threads"))).parentPort;

/** @type {WebAssembly.Module} */
let module;

/** @param {Order} order `stack`: where its own one begins, downwards; it works until the term is over */
function work({ memory, at, number, stack, term }) {
  /** @type {any} */
  const { __stack_pointer: pointer, puf_crew_work: begin, puf_crew_fail: fail } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  pointer.value = stack;
  try {
    begin(at, number, term);
  } catch (error) {
    fail(at); // else the thread that gave the task would wait for ever
    throw error;
  }
}

/** @param {{ data: WebAssembly.Module | Order }} event the module, then orders */
port.onmessage = ({ data }) => {
  if (!(data instanceof WebAssembly.Module)) return work(data);
  module = data;
  port.postMessage("ready");
};
