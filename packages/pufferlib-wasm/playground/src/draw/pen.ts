/** Colours of a drawing, for a light and for a dark page. */
export interface Palette {
  paper: string;
  ink: string;
  soft: string;
  faint: string;
  blue: string;
  red: string;
  green: string;
  yellow: string;
  wood: string;
  violet: string;
}

export const PALETTES: Record<"light" | "dark", Palette> = {
  light: {
    paper: "#f4f7fb", ink: "#243040", soft: "#9aa7b8", faint: "#dfe6ee", blue: "#2f6fe0", red: "#d64d4d", green: "#2fa35a",
    yellow: "#e3a90c", wood: "#ca9865", violet: "#8184cb",
  },
  dark: {
    paper: "#0e141c", ink: "#dbe4ef", soft: "#66758a", faint: "#263140", blue: "#6ba1ff", red: "#f07b7b", green: "#57c785",
    yellow: "#f4c84a", wood: "#d9a974", violet: "#a3a6ee",
  },
}; // prettier-ignore

export type Point = readonly [x: number, y: number];

/** Shapes on a context, in the units of a drawing; x to the right, y down. */
export class Pen {
  constructor(
    readonly context: CanvasRenderingContext2D,
    readonly palette: Palette,
  ) {}

  /** A line through points, with round ends. */
  line(points: readonly Point[], width: number, color: string): void {
    const { context } = this;
    context.beginPath();
    points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = color;
    context.stroke();
  }

  /** A filled outline. */
  shape(points: readonly Point[], color: string): void {
    const { context } = this;
    context.beginPath();
    points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.fillStyle = color;
    context.fill();
  }

  disc([x, y]: Point, radius: number, color: string): void {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.fill();
  }

  box(x: number, y: number, width: number, height: number, color: string, corner = 0): void {
    const { context } = this;
    context.beginPath();
    context.roundRect(x, y, width, height, corner);
    context.fillStyle = color;
    context.fill();
  }

  /** Text around a point. */
  text(said: string, [x, y]: Point, size: number, color: string): void {
    const { context } = this;
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = color;
    context.fillText(said, x, y);
  }
}
