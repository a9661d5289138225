import { PufferError } from "./errors.js";

/** A number as Python writes it. @param {number} x */
export function number(x) {
  if (!Number.isFinite(x)) throw new PufferError(`a checkpoint cannot hold the number ${x}`);
  const [mantissa, exponent] = x.toExponential().split("e"), power = Number(exponent);
  if (Number.isSafeInteger(x) || (power >= -4 && power < 16)) return String(x);
  return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/**
 * JSON with sorted keys, byte for byte as Python's json.dumps.
 * @param {any} value
 * @param {boolean} indented by one space, else without any space
 * @param {string} [margin]
 * @returns {string}
 */
export function dumps(value, indented, margin = "\n") {
  if (typeof value === "number") return number(value);
  if (typeof value === "bigint") return String(value);
  if (value === null || typeof value !== "object") {
    return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => (c === "\u007f" ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`));
  }
  const inner = indented ? `${margin} ` : "", between = indented ? ": " : ":";
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((one) => dumps(one, indented, inner))
    : Object.keys(value).sort().map((key) => dumps(key, indented) + between + dumps(value[key], indented, inner));
  return items.length ? `${open}${inner}${items.join(`,${inner}`)}${indented ? margin : ""}${close}` : open + close;
}
