/** Invalid sensor data and a failing runtime: no exceptions, events in order, consistent counts. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Recognizer } from "../src/core/recognizer";
import type { Event, Prediction, Runtime, StreamInfo } from "../src/core/types";
import { readContract } from "./artifact";

const contract = await readContract();
const labels = contract.label_sets[contract.default_label_set];
const { rate_hz: rateHz, window } = contract.input;

/** A fake model whose embeddings depend on the window, and that fails for chosen calls. */
function model(fails: (call: number) => boolean = () => false): Pick<Runtime, "embed"> & { calls: number } {
  return {
    calls: 0,
    async embed(x) {
      await new Promise((resolve) => setTimeout(resolve, x[0] > 0 ? 0 : 1)); // calls finish out of order
      if (fails(this.calls++)) throw new Error("out of memory");
      return Float32Array.from({ length: contract.embedding_dim }, (_, i) => x[i] - 0.5);
    },
  };
}

function recognizer(stream: StreamInfo = { channels: 3 }, runtime = model()): Recognizer {
  return new Recognizer(contract, labels, stream, runtime);
}

/** Samples of a swing of `seconds` at the model's rate. */
function swing(seconds: number, startS = 0): { tS: Float64Array; x: Float32Array } {
  const n = Math.round(seconds * rateHz);
  return {
    tS: Float64Array.from({ length: n }, (_, i) => startS + i / rateHz),
    x: Float32Array.from({ length: 3 * n }, (_, i) => 9 * Math.sin(i / 7)),
  };
}

const asShown = (events: readonly Event[]): unknown[] =>
  events.map((event) => (event.kind === "gap" ? event : { ...event, inferenceMs: 0 }));

/** Marks 0.4 s of times that are NaN. */
const DEAD = -1e12;

/** Valid and invalid clock steps and sensor values. */
const faults = fc.record({
  steps: fc.array(
    fc.oneof(
      { weight: 400, arbitrary: fc.constantFrom(0.02, 0.0195, 0.0207) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(0, -0.02, 0.1, 0.24, 0.3, -0.3, -5, 1e-5, 1e9, NaN, Infinity, 1e11, DEAD),
      },
    ),
    { minLength: 500, maxLength: 1200 },
  ),
  values: fc.oneof(
    { weight: 1, arbitrary: fc.constant([1.5]) },
    {
      weight: 9,
      arbitrary: fc.array(
        fc.oneof(
          { weight: 400, arbitrary: fc.float({ min: -20, max: 20, noNaN: true }) },
          { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity, 1e30, 999, -1001, -0) },
        ),
        { minLength: 200, maxLength: 400 },
      ),
    },
  ),
  pieces: fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 20 }),
});

function stream(steps: readonly number[], values: readonly number[]): { tS: Float64Array; x: Float32Array } {
  let sum = 0;
  const dead = [...new Array<number>(20).fill(NaN), 0.4];
  const all = steps.flatMap((step) => (step === DEAD ? dead : step));
  const tS = Float64Array.from(all, (step) => {
    if (Number.isFinite(step)) sum += step;
    return Number.isFinite(step) ? sum : step;
  });
  return { tS, x: Float32Array.from({ length: 3 * tS.length }, (_, i) => values[(i * 7) % values.length]) };
}

async function pushed(pieces: readonly number[], tS: Float64Array, x: Float32Array): Promise<[Event[], Recognizer]> {
  const one = recognizer();
  const events: Event[] = [];
  for (let start = 0, i = 0; start < tS.length; i++) {
    const end = start + pieces[i % pieces.length] + (i % 5 === 4 ? 1 : 0);
    events.push(...(await one.push(tS.subarray(start, end), x.subarray(3 * start, 3 * end))));
    start = end;
  }
  return [events, one];
}

test("any input and split gives the same finite events and consistent counts", async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(faults, async ({ steps, values, pieces }) => {
      const { tS, x } = stream(steps, values);
      const [whole, one] = await pushed([tS.length], tS, x);
      const [split, other] = await pushed(pieces, tS, x);
      expect(asShown(split)).toEqual(asShown(whole));
      expect(other.stats).toEqual(one.stats);
      const { samples, invalid, repeated, gaps, windows } = one.stats;
      expect(samples).toBe(tS.length);
      expect(invalid + repeated).toBeLessThanOrEqual(samples);
      expect(whole.filter((event) => event.kind === "gap")).toHaveLength(gaps);
      expect(whole.filter((event) => event.kind === "prediction").length).toBeLessThanOrEqual(windows);
      for (const event of whole) {
        seen.add(event.kind === "gap" ? event.reason : event.kind);
        expect(Number.isFinite(event.endS)).toBe(true);
        if (event.kind === "gap") expect(event.endS).toBeGreaterThan(event.startS);
        else expect(event.scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 4);
      }
    }),
    { numRuns: 60, seed: 1 },
  );
  expect(seen).toEqual(new Set(["prediction", "missing", "invalid", "clock", "constant"]));
});

test("stream without valid samples gives no events and is counted", async () => {
  const one = recognizer();
  const tS = Float64Array.from({ length: 500 }, (_, i) => i / rateHz);
  expect(await one.push(tS, new Float32Array(1500).fill(NaN))).toEqual([]);
  expect(one.stats).toMatchObject({ samples: 500, invalid: 500, windows: 0, rateHz: null });
});

test("times and values of different lengths are refused", async () => {
  const one = recognizer();
  expect(() => one.push(new Float64Array(2), new Float32Array(12))).toThrow("2 times but 12 values of 3 channels");
  expect(one.stats.samples).toBe(0);
});

test("gyroscope is ignored if the label set has no gyroscope", async () => {
  const { tS, x } = swing(6);
  const accelerometer = { ...labels, channels: 3 };
  const row = (i: number): number[] => [...x.subarray(3 * i, 3 * i + 3), NaN, NaN, NaN];
  const six = Float32Array.from([...tS.keys()].flatMap(row));
  const events = await new Recognizer(contract, accelerometer, { channels: 6 }, model()).push(tS, six);
  expect(events.length).toBeGreaterThan(3);
  expect(asShown(events)).toEqual(asShown(await recognizer().push(tS, x)));
});

test("overlapping calls are answered in order", async () => {
  const { tS, x } = swing(9);
  const one = recognizer();
  const pieces = [0, 150, 300].map((start) =>
    one.push(tS.subarray(start, start + 150), x.subarray(3 * start, 3 * (start + 150))),
  );
  const done: number[] = [];
  await Promise.all(pieces.map((piece, i) => piece.then(() => done.push(i))));
  expect(done).toEqual([0, 1, 2]);
  expect(asShown((await Promise.all(pieces)).flat())).toEqual(asShown(await recognizer().push(tS, x)));
});

test("model failure rejects the call and later windows are recognized", async () => {
  const { tS, x } = swing(9);
  const one = recognizer({ channels: 3 }, model((call) => call === 1));
  await expect(one.push(tS.subarray(0, 300), x.subarray(0, 900))).rejects.toThrow("out of memory");
  const events = await one.push(tS.subarray(300), x.subarray(900));
  expect(events.length).toBeGreaterThan(3);
});

test("reset clears everything except the counts", async () => {
  const { tS, x } = swing(6);
  const one = recognizer({ channels: 3, rateHz });
  const before = one.push(tS, x);
  one.reset();
  const after = await one.push(tS.map((t) => t + 100), x);
  expect(await before).toHaveLength(after.length - 1); // and a gap
  expect(after[0]).toMatchObject({ kind: "gap", reason: "missing" });
  const scores = (events: readonly Event[]): Float32Array[] =>
    events.filter((event): event is Prediction => event.kind === "prediction").map((event) => event.scores);
  expect(scores(after)).toEqual(scores(await before));
  expect(one.stats.samples).toBe(2 * tS.length);
});

describe("a sensor that repeats one value", () => {
  test("is a single gap of any length, and later samples are recognized", async () => {
    const { tS, x } = swing(30);
    x.fill(1.5, 3 * 500, 3 * 1000);
    const events = await recognizer().push(tS, x);
    expect(events.filter((event) => event.kind === "gap")).toHaveLength(1);
    const gap = events.findIndex((event) => event.kind === "gap");
    expect(events[gap]).toMatchObject({ reason: "constant" });
    expect(events[gap].endS - (events[gap] as { startS: number }).startS).toBeCloseTo((window - 1) / rateHz, 9);
    expect(events.length).toBeGreaterThan(gap + 10);
  });
});
