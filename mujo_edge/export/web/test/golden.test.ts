/** The pipeline on the golden streams, as `mujo-edge export` writes them. MUJO_ARTIFACT names the folder. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseContract } from "../src/core/contract";
import { differences, largestDelta, readCases, recognise, replayed, type Case } from "../src/golden";

const artifact = process.env["MUJO_ARTIFACT"];
if (!artifact) throw new Error("MUJO_ARTIFACT names no folder with mujo.json and golden/");

const read = async (name: string): Promise<ArrayBuffer> => {
  const bytes = await readFile(join(artifact, name));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
};
const contract = parseContract(JSON.parse(new TextDecoder().decode(await read("mujo.json"))));
const cases = await readCases((name) => read(`golden/${name}`), contract);

/** Numbers from 0 to 1 that are the same every time (Park and Miller 1988). */
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

test("there are the cases that tell something", () => {
  expect(cases.map(({ name }) => name)).toEqual(["even", "fast", "slow", "measured", "broken"]);
});

describe.each(cases)("$name", (golden) => {
  test.each(Object.keys(splits))("%s: same events, same windows", async (name) => {
    const runtime = replayed(golden);
    const events = await recognise(golden, contract, runtime, splits[name](golden));
    expect(differences(golden, events)).toEqual([]);
    expect(largestDelta(runtime.windows, golden.windows)).toBeLessThanOrEqual(1e-5);
  });

  test("the windows are those of Python to the bit, but for what sines round to", async () => {
    const runtime = replayed(golden);
    await recognise(golden, contract, runtime);
    const values = runtime.windows.flatMap((window) => [...window]);
    const other = golden.windows.flatMap((window) => [...window]).filter((value, i) => value !== values[i]);
    expect(other.length / values.length).toBeLessThan(1e-3);
  });

  test("a difference is found", async () => {
    const events = await recognise(golden, contract, replayed(golden));
    const swapped = events.map((event) => (event.kind === "prediction" ? { ...event, label: "else" } : event));
    expect(differences(golden, swapped)).toHaveLength(golden.embeddings.length);
    expect(differences(golden, events.slice(1))).not.toEqual([]);
    expect(differences(golden, events.map((event) => ({ ...event, endS: event.endS + 2e-6 })))).not.toEqual([]);
  });
});
