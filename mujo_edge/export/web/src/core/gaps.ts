/** Checks the times and values of samples: good ones pass, others are dropped, counted and reported as gaps. */

import type { Gap, Reason, StreamStats } from "./types";
import { MIN_STEP_S } from "./signal";

/** |value| that no wearable sensor exceeds: m/s2 (100 g) in the first three columns, rad/s (5700 deg/s) after them. */
const LIMITS = [1000, 1000, 1000, 100, 100, 100];

/** Largest plausible time (the year 2286 of Unix time); beyond it float64 cannot resolve the sample interval. */
const LATEST_S = 1e10;

/** Number of samples over which the displayed rate is measured. */
const RATE_SPAN = 256;

/** Consecutive good samples: `tS` (n), `x` (n * C) row by row. `gap` is the gap before them. */
export interface Span {
  readonly tS: Float64Array;
  readonly x: Float32Array;
  readonly gap: Gap | null;
}

/**
 * Splits chunks into spans of good samples and keeps the counts in `stats`.
 *
 * Dropped and counted as invalid: values and times that are not finite, or beyond `LIMITS` and `LATEST_S`.
 * Dropped and counted as repeated: samples whose time does not increase, by up to `maxGapS`. A longer step backwards
 * means that the clock wrapped or restarted: from there on time is shifted, to continue `maxGapS` after the last good
 * sample.
 */
export class GapDetector {
  readonly stats: StreamStats = {
    samples: 0, gaps: 0, invalid: 0, repeated: 0, windows: 0, signalS: 0, rateHz: null,
  };
  private offsetS = 0;
  private lastS: number | null = null;
  private sawInvalid = false;
  private recent: number[] = [];

  constructor(
    private readonly channels: number,
    private readonly maxGapS: number,
  ) {}

  /** Good samples of `tS` (n) and `x` (n * C) in order, a new span after every gap. */
  split(tS: Float64Array, x: Float32Array): Span[] {
    const { stats, channels, maxGapS } = this;
    stats.samples += tS.length;
    const rows: number[] = [];
    const times: number[] = [];
    const starts: { first: number; gap: Gap | null }[] = [{ first: 0, gap: null }];
    const startAfter = (reason: Reason, startS: number, endS: number): void => {
      starts.push({ first: rows.length, gap: { kind: "gap", startS, endS, reason } });
    };
    for (let i = 0; i < tS.length; i++) {
      let t = tS[i] + this.offsetS;
      if (!this.plausible(tS[i], x, i)) {
        stats.invalid++;
        this.sawInvalid = true;
        continue;
      }
      if (this.lastS !== null) {
        const step = t - this.lastS;
        if (-maxGapS <= step && step < MIN_STEP_S) {
          stats.repeated++;
          continue;
        }
        if (step < 0) {
          this.offsetS += maxGapS - step;
          t += maxGapS - step;
          startAfter("clock", this.lastS, t);
        } else if (step > maxGapS) {
          startAfter(this.sawInvalid ? "invalid" : "missing", this.lastS, t);
        } else {
          stats.signalS += step;
        }
      }
      rows.push(i);
      times.push(t);
      this.lastS = t;
      this.sawInvalid = false;
    }
    stats.gaps += starts.length - 1;
    this.measure(times.slice(starts[starts.length - 1].first), starts.length > 1);
    return starts.flatMap(({ first, gap }, i) => {
      const end = i + 1 < starts.length ? starts[i + 1].first : rows.length;
      if (first === end) return [];
      const part = new Float32Array((end - first) * channels);
      rows.slice(first, end).forEach((row, k) => {
        part.set(x.subarray(row * channels, (row + 1) * channels), k * channels);
      });
      return [{ tS: Float64Array.from(times.slice(first, end)), x: part, gap }];
    });
  }

  /** Whether the sample in `row` is finite and within `LIMITS` and `LATEST_S`. */
  private plausible(tS: number, x: Float32Array, row: number): boolean {
    for (let c = 0; c < this.channels; c++) {
      if (!(Math.abs(x[row * this.channels + c]) <= LIMITS[c])) return false;
    }
    return Math.abs(tS) <= LATEST_S;
  }

  private measure(times: readonly number[], restarted: boolean): void {
    this.recent = (restarted ? [] : this.recent).concat(times).slice(-RATE_SPAN);
    const n = this.recent.length;
    if (n > 1) this.stats.rateHz = (n - 1) / (this.recent[n - 1] - this.recent[0]);
  }
}
