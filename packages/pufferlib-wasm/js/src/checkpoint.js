import { PufferError } from "./errors.js";
import { dumps } from "./json.js";
import { decode, encode } from "./safetensors.js";
import { sha256 } from "./sha256.js";
import { canonical } from "./spaces.js";

/**
 * Checkpoints of the project: docs/explanation/checkpoint-format.md.
 * @typedef {Map<string, Uint8Array>} Files a checkpoint folder by file name
 * @typedef {{ manifest: any, state: any, tensors: Record<string, import("./policy.js").Tensors> }} Checkpoint
 * @typedef {{ steps: number, episodes: { count: number, returns: number[], lengths: number[] },
 *   tensors: Record<string, import("./policy.js").Tensors> }} Contents
 */

const SCHEMA = 1;
const KIND = "pufferlib-checkpoint";
const MANIFEST = "manifest.json";
const STATE = "state.json";

/** @param {string} text */
const utf8 = (text) => new TextEncoder().encode(text);

/**
 * The files of a checkpoint.
 * @param {import("./settings.js").Resolved} settings
 * @param {import("./spaces.js").Spaces} spaces
 * @param {Contents} contents
 * @returns {Promise<Files>}
 */
export async function writeCheckpoint(settings, spaces, { steps, episodes, tensors }) {
  const said = Object.fromEntries(Object.entries(settings).map(([name, values]) => [name, isSection(values) ? withoutNull(values) : values]));
  const state = { steps, episodes, best: null, best_steps: null, best_by: "training", settings: said };
  /** @type {Files} */
  const files = new Map(Object.entries(tensors).map(([name, one]) => [`${name}.safetensors`, encode(one)]));
  files.set(STATE, utf8(dumps(state, true)));
  const sealed = {};
  for (const [name, data] of files) Object.assign(sealed, { [name]: { bytes: data.length, sha256: sha256(data) } });
  const manifest = {
    env: settings.env,
    algorithm: settings.algorithm,
    backend: settings.backend,
    seed: settings.seed,
    policy: {
      obs_space: spaces.obs,
      action_space: spaces.action,
      config: said.policy,
      postprocessing: said.policy.squash ? "squash" : spaces.action.type === "Box" ? "clip" : "none",
    },
    space_fingerprint: sha256(utf8(canonical(spaces))),
    exact: false,
    exact_reason: "written in WebAssembly: bit for bit there, up to rounding elsewhere",
    created: `${new Date().toISOString().slice(0, 19)}Z`,
    schema: SCHEMA,
    kind: KIND,
    step: steps,
    files: sealed,
  };
  const digest = sha256(utf8(dumps(manifest, false)));
  return files.set(MANIFEST, utf8(dumps({ ...manifest, digest }, true)));
}

/** @param {any} value */
const isSection = (value) => value !== null && typeof value === "object";

/** @param {Record<string, any>} values */
const withoutNull = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));

/**
 * The digest that the text of a manifest must carry: of the same text without it and without spaces. Numbers stay as they are
 * written, because JavaScript would not write all of them in the same way again.
 * @param {string} text
 */
function digestOf(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[^\s"]+/g) ?? [];
  const at = tokens.findIndex((token, k) => token === '"digest"' && tokens[k + 1] === ":");
  const [before, after] = at < 0 ? [tokens, []] : [tokens.slice(0, at), tokens.slice(at + 3)];
  const joined = before.join("") + after.join("").replace(/^,/, "");
  return sha256(utf8(joined.replace(/,}$/, "}")));
}

/**
 * Reads and verifies a checkpoint, of Python or of this package.
 * @param {Files} files
 * @returns {Promise<Checkpoint>}
 */
export async function readCheckpoint(files) {
  const manifest = parse(files, MANIFEST);
  if (manifest.kind !== KIND) throw new PufferError(`${MANIFEST}: belongs to something else (kind ${manifest.kind}, expected ${KIND})`);
  if (manifest.schema !== SCHEMA) throw new PufferError(`${MANIFEST}: schema ${manifest.schema} is not read here, only ${SCHEMA}`);
  if (digestOf(new TextDecoder().decode(files.get(MANIFEST))) !== manifest.digest) {
    throw new PufferError(`${MANIFEST}: its digest does not match: corrupted`);
  }
  /** @type {Checkpoint["tensors"]} */
  const tensors = {};
  for (const [name, { bytes, sha256: wanted }] of Object.entries(/** @type {Record<string, any>} */ (manifest.files))) {
    const data = contents(files, name);
    if (data.length !== bytes) throw new PufferError(`${name}: ${data.length} bytes, the manifest says ${bytes}`);
    if (sha256(data) !== wanted) throw new PufferError(`${name}: its SHA-256 differs from the manifest's: the file is corrupted`);
    if (name.endsWith(".safetensors")) tensors[name.slice(0, -".safetensors".length)] = decode(data, name);
  }
  return { manifest, state: parse(files, STATE), tensors };
}

/** @param {Files} files @param {string} name */
function contents(files, name) {
  const data = files.get(name);
  if (!data) throw new PufferError(`${name}: is missing`);
  return data;
}

/** @param {Files} files @param {string} name */
function parse(files, name) {
  const data = contents(files, name);
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch (error) {
    throw new PufferError(`${name}: is not JSON (${/** @type {Error} */ (error).message}): corrupted or truncated?`);
  }
}
