/** From samples as they come to windows as the model takes them: clock -> resample -> overlapping windows. */

import { GapDetector, type Span } from "./gaps";
import { joined, Resampler, type Grid } from "./signal";
import type { Gap, InputSpec, StreamInfo, StreamStats } from "./types";

/** Signal at the start of every even stretch from which its rate is measured, before anything is resampled. */
const MEASURE_S = 1;

/** A nominal rate stands when the measured one differs by less than this share. */
const BELIEVED = 0.05;

/** `x` (T * C) at the model's rate, row by row, ending at device time `endS`. */
export interface Window {
  readonly kind: "window";
  readonly endS: number;
  readonly x: Float32Array;
}

/** Keeps the last samples at the model's rate; gives a window of `spec.window` of them every `spec.hop`. */
export class Windower {
  private tS: Float64Array = new Float64Array(0);
  private x: Float32Array = new Float32Array(0);

  constructor(
    private readonly spec: InputSpec,
    private readonly channels: number,
  ) {}

  /** Forget the samples so far: what follows is not continuous with them. */
  reset(): void {
    this.tS = new Float64Array(0);
    this.x = new Float32Array(0);
  }

  /** Add consecutive samples -> every window that they complete. */
  update(grid: Grid): Window[] {
    const { window, hop } = this.spec;
    const tS = joined(this.tS, grid.tS);
    const x = joined(this.x, grid.x);
    const windows: Window[] = [];
    let start = 0;
    for (; start + window <= tS.length; start += hop) {
      const end = start + window;
      windows.push({ kind: "window", endS: tS[end - 1], x: x.slice(start * this.channels, end * this.channels) });
    }
    this.tS = tS.slice(start);
    this.x = x.slice(start * this.channels);
    return windows;
  }
}

/** Samples of one stream in, windows and gaps out, in order. Any split into chunks gives the same windows. */
export class WindowPipeline {
  private readonly clock: GapDetector;
  private readonly windower: Windower;
  private resampler: Resampler | null = null;
  private held: Span[] = [];

  constructor(
    private readonly spec: InputSpec,
    private readonly stream: StreamInfo,
  ) {
    this.clock = new GapDetector(stream.channels, spec.max_gap_s);
    this.windower = new Windower(spec, stream.channels);
  }

  /** Counts so far, of all that came in. */
  get stats(): StreamStats {
    return this.clock.stats;
  }

  /** Windows that (n) seconds and (n * C) samples complete, and the gaps that they show. */
  update(tS: Float64Array, x: Float32Array): (Window | Gap)[] {
    const events: (Window | Gap)[] = [];
    for (const span of this.clock.split(tS, x)) {
      if (span.gap) {
        events.push(span.gap);
        this.reset();
      }
      const even = this.even(span);
      if (even && this.resampler) {
        const windows = this.windower.update(this.resampler.update(even.tS, even.x));
        this.stats.windows += windows.length;
        events.push(...windows);
      }
    }
    return events;
  }

  /** Forget the samples so far: what follows is not continuous with them. */
  reset(): void {
    this.resampler = null;
    this.held = [];
    this.windower.reset();
  }

  /** Samples that can be resampled now: none until the rate of this stretch is measured, then all so far. */
  private even(span: Span): Grid | null {
    if (this.resampler) return span;
    this.held.push(span);
    if (span.tS[span.tS.length - 1] - this.held[0].tS[0] < MEASURE_S) return null;
    const { tS, x } = this.held.reduce((all, part) => ({
      tS: joined(all.tS, part.tS),
      x: joined(all.x, part.x),
      gap: null,
    }));
    this.held = [];
    const n = tS.findIndex((t) => t - tS[0] >= MEASURE_S);
    const rateHz = this.settle(n / (tS[n] - tS[0]));
    this.resampler = new Resampler(this.stream.channels, rateHz, this.spec.rate_hz);
    return { tS, x };
  }

  /** The rate to resample from: a nominal one, the stream's or the model's, that the measured one bears out. */
  private settle(measuredHz: number): number {
    const nominal = [this.stream.rateHz, this.spec.rate_hz];
    return nominal.find((hz) => hz && Math.abs(measuredHz / hz - 1) < BELIEVED) ?? measuredHz;
  }
}
