import type { Report, Request } from "../protocol.js";
import { el, short } from "./dom.js";

const EPISODES = 100;
type Given = [path: string, bytes: Uint8Array][];

/** Takes checkpoints in and gives them out, and plays whole episodes with the policy. */
export class Checkpoint {
  readonly element: HTMLElement;
  #python = el("pre", { tabindex: 0, "aria-label": "Commands for Python" });
  #result = el("p", { class: "told", "aria-live": "polite" });
  #save = el("button", { type: "button", onclick: () => this.ask({ kind: "save" }) }, "Download checkpoint");
  #evaluate = el("button", { type: "button", onclick: () => this.#play() }, `Evaluate ${EPISODES} episodes`);

  /** @param load takes the files that a person chose */
  constructor(
    readonly ask: (request: Request) => void,
    readonly load: (files: Given) => void,
  ) {
    const file = el("input", { type: "file", id: "file", multiple: true, class: "hidden", tabindex: -1, "aria-hidden": true, onchange: () => void this.#chosen(file) });
    const folder = el("input", { type: "file", webkitdirectory: true, class: "hidden", tabindex: -1, "aria-hidden": true, onchange: () => void this.#chosen(folder) });
    const pick = (input: HTMLInputElement, text: string) => el("button", { type: "button", onclick: () => input.click() }, text);
    this.element = el(
      "section",
      { class: "card", "aria-label": "Checkpoint" },
      el("h2", {}, "Checkpoint"),
      el("div", { class: "row" }, this.#save, pick(file, "Load file …"), pick(folder, "Load folder …"), this.#evaluate, file, folder),
      el("p", { class: "hint" }, "The same checkpoints as in Python. Drop a zip or the folder of one anywhere on this page; what you download goes on there:"),
      this.#python,
      this.#result,
    );
    this.#commands("cartpole", 81920);
    this.#dropping();
  }

  /** What can be done with what there is: a run, or a policy that only plays. */
  enable(run: boolean): void {
    this.#save.disabled = this.#evaluate.disabled = !run;
  }

  saved({ env, name, steps, zip }: Extract<Report, { kind: "saved" }>): void {
    const href = URL.createObjectURL(new Blob([zip], { type: "application/zip" }));
    el("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
    this.#commands(env, steps);
    this.#result.textContent = `Saved as ${name}.`;
  }

  evaluated({ deviation, episodes, length, mean }: Extract<Report, { kind: "evaluated" }>): void {
    this.#result.textContent = `${episodes} episodes, greedy: return ${short(mean)} ± ${short(deviation)}, ${short(length)} steps each.`;
  }

  clear(): void {
    this.#result.textContent = "";
  }

  #play(): void {
    this.#result.textContent = "Evaluating …";
    this.ask({ kind: "evaluate", episodes: EPISODES });
  }

  #commands(env: string, steps: number): void {
    const name = `${env}-${steps}`;
    this.#python.textContent = `python -m zipfile -e ${name}.zip .\npuffer train --resume ${name} --timesteps ${2 * steps || 100_000}\npuffer eval ${env} --checkpoint ${name}`;
  }

  async #chosen(input: HTMLInputElement): Promise<void> {
    const files = await Promise.all([...(input.files ?? [])].map((file) => opened(file, file.webkitRelativePath || file.name)));
    input.value = ""; // the same file may be chosen again
    if (files.length) this.load(files);
  }

  #dropping(): void {
    const over = (event: DragEvent, on: boolean) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.toggle("dropping", on);
    };
    window.addEventListener("dragover", (event) => over(event, true));
    window.addEventListener("dragleave", (event) => over(event, false));
    window.addEventListener("drop", (event) => {
      over(event, false);
      // Only now: what was dropped is there no more once this listener has ended.
      const items = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
      const found = items.map((item) => (item instanceof File ? opened(item, item.name).then((file) => [file]) : item ? within(item) : []));
      void Promise.all(found).then((files) => this.load(files.flat()));
    });
  }
}

async function opened(file: File, path: string): Promise<Given[number]> {
  return [path, new Uint8Array(await file.arrayBuffer())];
}

/** All files of what was dropped, with their paths. */
async function within(entry: FileSystemEntry): Promise<Given> {
  if (entry.isFile) {
    const file = await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail));
    return [await opened(file, entry.fullPath.slice(1))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader(), found: FileSystemEntry[] = [];
  for (;;) {
    const more = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
    if (!more.length) break; // a browser may give them in parts
    found.push(...more);
  }
  return (await Promise.all(found.map(within))).flat();
}
