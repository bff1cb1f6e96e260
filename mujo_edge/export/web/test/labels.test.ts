/** Cases that golden streams do not cover: ties and zero probabilities. */

import { expect, test } from "vitest";
import { largest, names, normalized, probabilities, Smoother } from "../src/core/labels";
import type { LabelSet } from "../src/core/types";

const labels: LabelSet = {
  labels: ["stand", "walk"],
  placement: "wrist",
  channels: 6,
  temperature: 0.1,
  unknown_threshold: 0.5,
  smoothing: { method: "hmm", stay: 0.9, windows: 3 },
  prototypes: [[1, 0], [0, 1]],
};

test("argmax returns the first of equal values, as numpy does", () => {
  expect(largest([1, 3, 3])).toBe(1);
  expect(largest([0, 0])).toBe(0);
});

test("unknown is most likely exactly if no prototype reaches the threshold", () => {
  expect(names(labels)).toEqual(["stand", "walk", "unknown"]);
  const best = (x: number, y: number): number => largest(probabilities(normalized(Float32Array.of(x, y)), labels));
  expect(best(1, 0.2)).toBe(0);
  expect(best(0.2, 1)).toBe(1);
  expect(best(-1, 0.57)).toBe(2); // cosine 0.495
  expect(best(-1, 0.59)).toBe(1); // cosine 0.508
  expect(best(-1, -1)).toBe(2);
});

test("zero embedding is unknown, not NaN", () => {
  const p = probabilities(normalized(new Float32Array(2)), labels);
  expect(largest(p)).toBe(2);
  expect(p.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
});

test("filter returns to a class that was improbable for a long time", () => {
  const smoother = new Smoother({ method: "hmm", stay: 1, windows: 1 });
  for (let i = 0; i < 10; i++) smoother.update(Float32Array.of(1, 0, 0));
  let p = new Float32Array(3);
  for (let i = 0; i < 30; i++) p = Float32Array.from(smoother.update(Float32Array.of(0, 1, 0)));
  expect(p.every(Number.isFinite)).toBe(true);
  const kept = new Smoother({ method: "hmm", stay: 0.9, windows: 1 });
  kept.update(Float32Array.of(1, 0, 0));
  expect(largest(kept.update(Float32Array.of(1e-9, 1, 1e-9)))).toBe(1);
  expect(kept.update(Float32Array.of(0, 1, 0))[0]).toBeGreaterThan(1e-8);
});

test("reset clears the votes", () => {
  const smoother = new Smoother({ method: "majority", stay: 0.9, windows: 3 });
  for (const p of [[1, 0], [1, 0], [1, 0]]) smoother.update(Float32Array.from(p));
  smoother.reset();
  expect([...smoother.update(Float32Array.of(0, 1))]).toEqual([0, 1]);
});
