/** What goes wrong for a reason that a caller can mend; its message names the place, the rule, the value and the next step. */
export class PufferError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "PufferError";
  }
}
