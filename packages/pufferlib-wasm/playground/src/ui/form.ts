import type { Settings } from "pufferlib-wasm";
import type { Choice, Options } from "../protocol.js";
import { choice, el } from "./dom.js";

interface Field {
  section: string;
  name: string;
  said: Choice;
  input: HTMLInputElement | HTMLSelectElement;
}

const TITLES = [["train", "Training"], ["policy", "Policy"], ["ppo", "PPO"]] as const;

/** The settings of a run of one environment, made from what the module says of them. */
export class Form {
  readonly element = el("div", { class: "form" });
  #fields: Field[] = [];
  #seed: HTMLInputElement;

  /**
   * @param preset the names that the environment's preset sets, by section: they come first
   * @param onChange called when a value was changed by hand
   */
  constructor(
    readonly env: string,
    options: Options,
    preset: Record<string, Record<string, unknown>>,
    onChange: () => void,
  ) {
    this.#seed = el("input", { type: "number", id: "seed", min: 0, step: 1, value: 1, inputmode: "numeric" });
    const first = el("div", { class: "fields" }, row("seed", "of everything random", this.#seed));
    this.element.append(first);
    for (const [section, title] of [...TITLES, [env, "Environment"] as const]) {
      const rest = el("div", { class: "fields" });
      for (const [name, said] of Object.entries(options[section] ?? {})) {
        const field = { section, name, said, input: inputOf(`${section}.${name}`, said) };
        this.#fields.push(field);
        (name in (preset[section] ?? {}) ? first : rest).append(row(name, said.help, field.input));
      }
      if (rest.childElementCount) this.element.append(el("details", {}, el("summary", {}, title), rest));
    }
    this.element.addEventListener("change", onChange);
    this.reset();
  }

  /** Every value as it is when nobody changes it. */
  reset(): void {
    this.#seed.value = "1";
    for (const { input, said } of this.#fields) show(input, said.start);
    this.complain("");
  }

  /** Values of a run. */
  fill(settings: Settings): void {
    this.#seed.value = String(settings.seed ?? 0);
    for (const { input, name, said, section } of this.#fields) show(input, settings[section]?.[name] ?? (said.default === null ? null : said.start));
  }

  /** What differs from the preset, for a run; the worker checks it. */
  get settings(): Settings {
    const settings: Settings = { env: this.env, seed: Number(this.#seed.value) };
    for (const { input, name, said, section } of this.#fields) {
      const value = read(input, said);
      if (JSON.stringify(value) !== JSON.stringify(said.start)) settings[section] = { ...settings[section], [name]: value };
    }
    return settings;
  }

  /** Settings of the environment itself. */
  get config(): Record<string, any> {
    return this.settings[this.env] ?? {};
  }

  /** Marks the field that a message begins with (`ppo.minibatch=...`); no message: none. */
  complain(message: string): void {
    for (const { input, name, section } of this.#fields) {
      const meant = message.startsWith(`${section}.${name}`) && !/^\w/.test(message.slice(section.length + name.length + 1));
      input.setAttribute("aria-invalid", String(meant));
      if (meant) input.closest("details")?.setAttribute("open", "");
    }
  }
}

function row(name: string, help: string, input: HTMLElement): HTMLElement {
  input.setAttribute("aria-describedby", `${input.id}-help`);
  return el("div", { class: "field" }, el("label", { for: input.id }, name.replaceAll("_", " ")), input, el("small", { id: `${input.id}-help` }, help));
}

function inputOf(id: string, said: Choice): Field["input"] {
  if (said.choices) return choice({ id }, said.choices.map((one) => [one, one]));
  if (said.kind === "bool") return el("input", { type: "checkbox", id });
  if (said.list) return el("input", { type: "text", id, inputmode: "numeric" });
  const whole = said.kind === "int", step = whole ? 1 : "any", placeholder = said.default === null ? "none" : undefined;
  return el("input", { type: "number", id, step, min: said.low, max: said.high, placeholder, inputmode: whole ? "numeric" : "decimal" });
}

function show(input: Field["input"], value: unknown): void {
  if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = Boolean(value);
  else input.value = value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
}

function read(input: Field["input"], said: Choice): unknown {
  if (input instanceof HTMLInputElement && input.type === "checkbox") return input.checked;
  const text = input.value.trim();
  if (said.list) return text ? text.split(/[\s,]+/).map(Number) : [];
  if (text === "") return said.default === null ? null : said.start;
  return said.kind === "str" ? text : Number(text);
}
