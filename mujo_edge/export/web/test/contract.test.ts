/** A damaged, incompatible or hostile mujo.json is refused with a message. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { ContractError, parseContract } from "../src/core/contract";
import { readTable } from "./artifact";

const table = await readTable();

/** A copy in which the value at a path like "input.rate_hz" is replaced. */
function changed(path: string, value: unknown): unknown {
  const copy = structuredClone(table);
  const keys = path.split(".");
  const last = keys.pop() as string;
  const parent = keys.reduce<Record<string, unknown>>((part, key) => part[key] as Record<string, unknown>, copy);
  expect(parent).toHaveProperty(last);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return copy;
}

const set = `label_sets.${String(table["default_label_set"])}`;
const damage: [string, unknown, RegExp][] = [
  ["schema_version", 2, /schema version 2/],
  ["schema_version", undefined, /schema version undefined/],
  ["input", undefined, /input/],
  ["input.rate_hz", 0, /input/],
  ["input.rate_hz", "50", /input/],
  ["input.rate_hz", Infinity, /input/],
  ["input.window", 1.5, /input/],
  ["input.hop", -25, /input/],
  ["input.hop", 151, /input/],
  ["input.scale", [1, 2, 3], /input/],
  ["input.scale", [1, 1, 1, 1, 1, 0], /input/],
  ["input.channels", ["ax"], /input/],
  ["embedding_dim", 0, /embedding_dim/],
  ["embedding_dim", 63, /label set/],
  ["models", {}, /models/],
  ["models", [{}], /models/],
  ["label_sets", [], /label_sets/],
  ["default_label_set", "constructor", /default_label_set/],
  [`${set}.temperature`, 0, /label set/],
  [`${set}.temperature`, null, /label set/],
  [`${set}.temperature`, 1e-300, /label set/],
  [`${set}.temperature`, "0.1", /label set/],
  [`${set}.unknown_threshold`, 7, /label set/],
  [`${set}.unknown_threshold`, "0.4", /label set/],
  [`${set}.labels`, [], /label set/],
  [`${set}.labels`, [1], /label set/],
  [`${set}.prototypes`, [[1]], /label set/],
  [`${set}.channels`, 4, /label set/],
  [`${set}.smoothing`, null, /label set/],
  [`${set}.smoothing.method`, "mean", /label set/],
  [`${set}.smoothing.windows`, 0, /label set/],
  [`${set}.smoothing.windows`, 2.5, /label set/],
  [`${set}.smoothing.stay`, "0.9", /label set/],
  [`${set}.smoothing.stay`, 1.5, /label set/],
];

test("mujo.json of the artifact is accepted", () => {
  expect(parseContract(structuredClone(table))).toEqual(table);
});

test.each(damage)("%s = %j", (path, value, message) => {
  const parsed = (): unknown => parseContract(changed(path, value));
  expect(parsed).toThrow(ContractError);
  expect(parsed).toThrow(message);
  expect(parsed).toThrow("Export the folder again");
});

test("any JSON is accepted or refused with a message", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(table)), (value, key) => {
      for (const hostile of [value, { ...table, [key]: value }]) {
        try {
          expect(parseContract(hostile)).toBe(hostile);
        } catch (error) {
          expect(error).toBeInstanceOf(ContractError);
        }
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});
