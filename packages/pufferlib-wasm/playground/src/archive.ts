import { unzipSync, zipSync } from "fflate";
import { PufferError, type Files } from "pufferlib-wasm";

const MANIFEST = "manifest.json";

/** A checkpoint folder as one file: a zip of the folder, which `puffer train --resume` takes once it is unpacked. */
export function pack(folder: string, files: Files): Uint8Array<ArrayBuffer> {
  const level = 0; // numbers of a network hardly shrink
  return zipSync(Object.fromEntries([...files].map(([name, data]) => [`${folder}/${name}`, data])), { level });
}

/**
 * The files of a checkpoint from what a person gave: a zip, or the files of a folder with their paths.
 * Of several checkpoints, such as a whole run folder has, it is the last one.
 * @throws PufferError if there is none.
 */
export function unpack(given: readonly [path: string, bytes: Uint8Array][]): Files {
  const all = given.flatMap(([path, bytes]) => (path.toLowerCase().endsWith(".zip") ? Object.entries(unzipped(path, bytes)) : [[path, bytes] as const]));
  const folders = all.flatMap(([path]) => (path === MANIFEST || path.endsWith(`/${MANIFEST}`) ? [path.slice(0, -MANIFEST.length)] : []));
  const folder = folders.sort().at(-1);
  if (folder === undefined) {
    throw new PufferError(`there is no ${MANIFEST} in what was given: choose the zip of a checkpoint, or all files of a checkpoint folder`);
  }
  return new Map(all.filter(([path]) => path.startsWith(folder)).map(([path, bytes]) => [path.slice(folder.length), bytes]));
}

function unzipped(name: string, bytes: Uint8Array): Record<string, Uint8Array> {
  try {
    return unzipSync(bytes);
  } catch (error) {
    throw new PufferError(`${name} cannot be unpacked (${(error as Error).message}): is it a whole zip file?`);
  }
}
