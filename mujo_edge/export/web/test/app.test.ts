/** Parts of the page without a document: counts, and the CSV of a session. */

import { describe, expect, test } from "vitest";
import { head, Rows } from "../src/app/csv";
import { clock, many } from "../src/app/page";
import type { SessionMeta } from "../src/app/store";
import { Median, SPAN_S, Tally } from "../src/app/tally";
import type { Event, Prediction } from "../src/core/types";

function predicted(endS: number, label: string, score = 0.9): Prediction {
  const embedding = new Float32Array(2);
  return { kind: "prediction", endS, label, score, rawLabel: label, scores: embedding, embedding, inferenceMs: 1 };
}

const gap = (startS: number, endS: number): Event => ({ kind: "gap", startS, endS, reason: "missing" });

describe("Tally", () => {
  test("time of a label is the sum of its windows' hops; a bout ends with another label or a gap", () => {
    const tally = new Tally(0.5);
    for (const event of [
      predicted(3, "a"), predicted(3.5, "a"), predicted(4, "b"), predicted(4.5, "a"),
      gap(4.6, 6), predicted(9, "a"), predicted(9.5, "a"),
    ]) tally.add(event); // prettier-ignore
    expect(tally.counts).toEqual(new Map([["a", { seconds: 2.5, bouts: 3 }], ["b", { seconds: 0.5, bouts: 1 }]]));
    expect(tally.recent).toEqual([
      { label: "a", startS: 2.5, endS: 3.5 },
      { label: "b", startS: 3.5, endS: 4 },
      { label: "a", startS: 4, endS: 4.5 },
      { label: "a", startS: 8.5, endS: 9.5 },
    ]);
  });

  test("timeline is bounded, counts are not", () => {
    const tally = new Tally(0.5);
    tally.add(predicted(3, "a"));
    tally.add(predicted(3.5, "b"));
    tally.add(predicted(3.5 + SPAN_S - 0.5, "c"));
    expect(tally.recent.map(({ label }) => label)).toEqual(["b", "c"]);
    tally.add(predicted(3.5 + SPAN_S, "c"));
    expect(tally.recent.map(({ label }) => label)).toEqual(["c"]);
    expect([...tally.counts.keys()]).toEqual(["a", "b", "c"]);
  });
});

test("median covers the last values only", () => {
  const median = new Median(4);
  expect(median.value).toBeNull();
  for (const [value, middle] of [[5, 5], [1, 3], [3, 3], [9, 4], [2, 2.5], [2, 2.5]] as const) {
    median.add(value);
    expect(median.value).toBe(middle);
  }
});

describe("CSV", () => {
  const session: SessionMeta = {
    id: 1, name: "leg day\n# not a comment", startedMs: 0, labelSet: "gym-wrist", placement: "wrist", bundle: "b 1", channels: 3,
    hopS: 0.5, samples: 4, durationS: 1, counts: {}, stopped: true,
  }; // prettier-ignore

  test("header has one line per remark and the columns of recordings", () => {
    const lines = head(session).split("\n");
    expect(lines.slice(0, -2).every((line) => line.startsWith("# "))).toBe(true);
    expect(lines.at(-2)).toBe("t_s,ax_m_s2,ay_m_s2,az_m_s2,recognized_label,recognized_score");
    expect(lines.at(-1)).toBe("");
    expect(head({ ...session, channels: 6 })).toContain("az_m_s2,gx_rad_s,gy_rad_s,gz_rad_s,recognized_label");
  });

  test("labels mark the last half second of their window; float32 values round-trip", () => {
    const events = [predicted(3, 'draw "x", twice', 0.87654), gap(3.2, 4), predicted(7, "b")];
    const rows = new Rows(events, 0.5, 3);
    const x = Float32Array.of(9.81, -0.1, 1e-9, NaN, 1, 2, 3, 4, 5, 6, 7, 8);
    const text = rows.text({ tS: Float64Array.of(2.5, 2.52, 3, 3.02), x }) + rows.text({ tS: Float64Array.of(7), x });
    const cells = text.trim().split("\n").map((line) => line.split(/,(?! )/));
    expect(cells.map((row) => row.slice(-2))).toEqual([
      ["", ""],
      ['"draw ""x"", twice"', "0.8765"],
      ['"draw ""x"", twice"', "0.8765"],
      ["", ""],
      ["b", "0.9000"],
    ]);
    expect(cells[1].slice(0, 4)).toEqual(["2.52", "nan", "1", "2"]);
    expect(Float32Array.from(cells[0].slice(1, 4), Number)).toEqual(x.slice(0, 3));
  });
});

test("numbers are formatted for reading", () => {
  expect([0, 59.9, 75, 3675].map(clock)).toEqual(["0:00", "0:59", "1:15", "1:01:15"]);
  expect([many(1, "bout"), many(2, "bout")]).toEqual(["1 bout", "2 bouts"]);
});
