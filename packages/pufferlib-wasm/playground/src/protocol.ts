import type { Settings } from "pufferlib-wasm";

/** What the page asks of the worker. */
export type Request = { kind: "open"; base: string } | { kind: "start"; settings: Settings } | { kind: "pause" } | { kind: "go" };

/** What the worker tells the page. */
export type Report =
  | { kind: "ready"; environments: string[] }
  | { kind: "metrics"; steps: number; done: boolean; metrics: Record<string, number> }
  | { kind: "error"; message: string };
