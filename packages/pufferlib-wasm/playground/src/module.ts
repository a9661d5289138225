import { load, PufferError, type Puffer } from "pufferlib-wasm";

/** File names of the modules beside the page: with 128-bit vectors, without, and with vectors and memory that threads share. */
const FILES = { simd: "puffer.wasm", scalar: "puffer-scalar.wasm", threads: "puffer-threads.wasm" };

/** With 128-bit vectors, or without. */
export type Kind = "simd" | "scalar";

/** What a run works with; more than one thread only with vectors. */
export interface Means {
  module: Kind;
  threads: number;
}

/**
 * A module that a worker trains with: the only place that makes one.
 * @param base address of the folder of the page
 * @param threads with the one that calls; where memory cannot be shared the result has one, and says why (`obstacle`)
 */
export function makePuffer(kind: Kind, base: string, threads = 1): Promise<Puffer> {
  const plain = new URL(FILES[kind], base);
  return kind === "simd" ? load({ plain, threads: new URL(FILES.threads, base) }, { threads }) : load(plain);
}

/** Threads that this device is good for. */
const PROCESSORS = Math.min(navigator.hardwareConcurrency, 256); // the most that a module takes

/** The modules of a page, compiled once, and those of them whose work other workers share. */
export class Modules {
  readonly plain: Partial<Record<Kind, Puffer>> = {};
  /** Why there is only one thread; null: there can be more. */
  obstacle: string | null = null;
  #sharing: WebAssembly.Module | undefined;

  /** @param base address of the folder of the page */
  static async open(base: string): Promise<Modules> {
    const modules = new Modules();
    for (const kind of ["simd", "scalar"] as const) {
      try {
        modules.plain[kind] = await makePuffer(kind, base);
      } catch (error) {
        if (!(error instanceof WebAssembly.CompileError)) throw error; // else an engine without vectors
      }
    }
    await modules.#share(base);
    return modules;
  }

  /** Tries whether work can be shared, with one more worker. */
  async #share(base: string): Promise<void> {
    if (!this.plain.simd) this.obstacle = "threads need 128-bit vectors of WebAssembly, which this browser does not run";
    else if (PROCESSORS < 2) this.obstacle = "this device offers one processor";
    if (this.obstacle) return;
    try {
      const tried = await makePuffer("simd", base, 2);
      this.obstacle = tried.obstacle;
      if (!tried.obstacle) this.#sharing = tried.module;
      await tried.close();
    } catch (error) {
      this.obstacle = (error as Error).message;
    }
  }

  get kinds(): Kind[] {
    return Object.keys(this.plain) as Kind[];
  }

  /** The most threads that a run can have. */
  get most(): number {
    return this.obstacle ? 1 : PROCESSORS;
  }

  /** The one that is there in any case. */
  get any(): Puffer {
    return this.plain.simd ?? this.#of("scalar");
  }

  /** A module for a run; with more than one thread a new one, whose workers last until `close()`. */
  async get({ module, threads }: Means): Promise<Puffer> {
    if (threads === 1) return this.#of(module);
    if (!this.#sharing || module !== "simd") throw new PufferError(`threads=${threads}: ${this.obstacle ?? "only the module with vectors has threads"}`);
    return load(this.#sharing, { threads });
  }

  #of(module: Kind): Puffer {
    const puffer = this.plain[module];
    if (!puffer) throw new PufferError(`this browser does not run the module ${module}: choose another one`);
    return puffer;
  }
}
