/** Time and bouts of each recognized label, and the bouts of the last minutes. */

import type { Event } from "../core/types";

/** Seconds that the timeline shows. */
export const SPAN_S = 180;

/** A stretch of one label without gap. */
export interface Bout {
  readonly label: string;
  readonly startS: number;
  endS: number;
}

export interface Count {
  seconds: number;
  bouts: number;
}

/** Counts every window as `hopS` seconds, the time since the previous one. */
export class Tally {
  readonly counts = new Map<string, Count>();
  /** Bouts that end in the last `SPAN_S` seconds, in order of time. */
  recent: Bout[] = [];
  private open: Bout | null = null;

  constructor(private readonly hopS: number) {}

  add(event: Event): void {
    if (event.kind === "gap") {
      this.open = null;
      return;
    }
    const count = this.counts.get(event.label) ?? { seconds: 0, bouts: 0 };
    this.counts.set(event.label, count);
    count.seconds += this.hopS;
    if (this.open?.label === event.label) {
      this.open.endS = event.endS;
    } else {
      count.bouts += 1;
      this.open = { label: event.label, startS: event.endS - this.hopS, endS: event.endS };
      this.recent.push(this.open);
    }
    this.recent = this.recent.filter((bout) => bout.endS > event.endS - SPAN_S);
  }
}

/** Median of the last `size` numbers. */
export class Median {
  private values: number[] = [];

  constructor(private readonly size: number) {}

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  /** Null before the first number. */
  get value(): number | null {
    const sorted = [...this.values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    if (!sorted.length) return null;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
}
