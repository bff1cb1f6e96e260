/** The pipeline on golden streams, as `mujo-edge export` writes them. MUJO_ARTIFACT names the folder. */

import { describe, expect, test } from "vitest";
import { differences, largestDelta, readCases, recognize, replayed, type Case } from "../src/golden";
import { read, readContract } from "./artifact";

const contract = await readContract();
const cases = await readCases((name) => read(`golden/${name}`), contract);

/** Reproducible pseudo-random numbers from 0 to 1 (Park and Miller 1988). */
function random(seed: number): () => number {
  return () => (seed = (seed * 48271) % 0x7fffffff) / 0x7fffffff;
}

const one = random(7);
const splits: Record<string, (golden: Case) => () => number> = {
  "all at once": (golden) => () => golden.tS.length,
  "sample by sample": () => () => 1,
  "a hop at a time": () => () => contract.input.hop,
  "in pieces of any size": () => () => Math.floor(one() * one() * 400),
};

describe.each(cases)("$name", (golden) => {
  test.each(Object.keys(splits))("%s: same events, same windows", async (name) => {
    const runtime = replayed(golden);
    const events = await recognize(golden, contract, runtime, splits[name](golden));
    expect(differences(golden, events)).toEqual([]);
    expect(largestDelta(runtime.windows, golden.windows)).toBeLessThanOrEqual(1e-5);
  });

  test("windows equal those of Python bit for bit, except for rounding of sines", async () => {
    const runtime = replayed(golden);
    await recognize(golden, contract, runtime);
    const values = runtime.windows.flatMap((window) => [...window]);
    const other = golden.windows.flatMap((window) => [...window]).filter((value, i) => value !== values[i]);
    expect(other.length / values.length).toBeLessThan(1e-3);
  });

  test("difference is detected", async () => {
    const events = await recognize(golden, contract, replayed(golden));
    const swapped = events.map((event) => (event.kind === "prediction" ? { ...event, label: "else" } : event));
    expect(differences(golden, swapped)).toHaveLength(golden.embeddings.length);
    expect(differences(golden, events.slice(1))).not.toEqual([]);
    expect(differences(golden, events.map((event) => ({ ...event, endS: event.endS + 2e-6 })))).not.toEqual([]);
  });
});
