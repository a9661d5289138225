import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { sha256 } from "../src/sha256.js";

test("digests are those of node, at every length around a block", () => {
  const data = Uint8Array.from({ length: 1000 }, (_, k) => (k * 167 + (k >> 3)) & 255);
  for (const length of [0, 1, 3, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000]) {
    const some = data.subarray(1000 - length);
    assert.equal(sha256(some), createHash("sha256").update(some).digest("hex"), String(length));
  }
});
