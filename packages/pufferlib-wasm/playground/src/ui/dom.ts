type Attributes = Record<string, string | number | boolean | undefined | ((event: any) => void)>;
type Child = Node | string | null;

/** An element with attributes (`onclick` and its like are listeners, false and undefined leave one out) and children. */
export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A number that changes often: an output that is read where one looks for it, and not announced at every change. */
export function reading(text: string, attributes: Attributes = {}): HTMLOutputElement {
  return el("output", { "aria-live": "off", ...attributes }, text);
}

/** A drop-down list. */
export function choice(attributes: Attributes, options: readonly (readonly [value: string, text: string])[]): HTMLSelectElement {
  return el("select", attributes, ...options.map(([value, text]) => el("option", { value }, text)));
}

/** A number for people: three digits and a unit of thousands, or all digits of small ones. */
export function short(x: number): string {
  if (!Number.isFinite(x)) return "–";
  return new Intl.NumberFormat("en", { notation: Math.abs(x) >= 10_000 ? "compact" : "standard", maximumSignificantDigits: 4 }).format(x);
}

/** A whole number with separators. */
export const whole = (x: number): string => new Intl.NumberFormat("en", { maximumFractionDigits: 0 }).format(x);

/** A canvas that is as fine as the screen; gives the context in CSS pixels, and its size. */
export function fitted(canvas: HTMLCanvasElement): [context: CanvasRenderingContext2D, width: number, height: number] {
  const { clientWidth: width, clientHeight: height } = canvas, fine = window.devicePixelRatio;
  const [w, h] = [Math.round(width * fine), Math.round(height * fine)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.setTransform(fine, 0, 0, fine, 0, 0);
  return [context, width, height];
}
