/** A recorded piece of exercise that is played instead of the motion sensor, for devices without one. */

import { parseCsv } from "../golden";
import type { Batch, Sensor } from "./motion";

/** Golden stream that is played: at the model's rate, with gyroscope, across a change of exercise. */
const FILE = "golden/even.samples.csv";

/** Label set of its labels, where the bundle has it. */
export const SAMPLE_SET = "physio-wrist";

export class Sample implements Sensor {
  readonly channels = 6;
  private beganMs = 0;
  private playedMs = 0;
  private next = 0;

  /** `tS` (n) from 0 s, `x` (n * 6). */
  constructor(
    private readonly tS: Float64Array,
    private readonly x: Float32Array,
  ) {}

  static async load(): Promise<Sample> {
    const answer = await fetch(FILE);
    if (!answer.ok) throw new Error(`${FILE} cannot be read (HTTP ${answer.status})`);
    const rows = parseCsv(await answer.text());
    const values = rows.flatMap((row) => Object.values(row).slice(1).map(Number));
    return new Sample(Float64Array.from(rows, (row) => Number(row["t_s"])), Float32Array.from(values));
  }

  get ended(): boolean {
    return this.next === this.tS.length;
  }

  start(): void {
    this.beganMs = performance.now() - this.playedMs;
  }

  stop(): void {
    this.playedMs = performance.now() - this.beganMs;
  }

  take(): Batch {
    const first = this.next;
    const playedS = (performance.now() - this.beganMs) / 1000;
    while (this.next < this.tS.length && this.tS[this.next] <= playedS) this.next += 1;
    return { tS: this.tS.slice(first, this.next), x: this.x.slice(6 * first, 6 * this.next) };
  }
}
