/** Windows of a stream: gap detection -> resampling -> overlapping windows. */

import { GapDetector, type Span } from "./gaps";
import { joined, Resampler, type Grid } from "./signal";
import type { Gap, InputSpec, StreamInfo, StreamStats } from "./types";

/** Seconds at the start of a gapless stretch over which its rate is measured, before it is resampled. */
const MEASURE_S = 1;

/** Largest relative difference of the measured rate at which a nominal rate is used. */
const RATE_TOLERANCE = 0.05;

/** `x` (T * C) at the model's rate, row by row, ending at device time `endS`. */
export interface Window {
  readonly kind: "window";
  readonly endS: number;
  readonly x: Float32Array;
}

/** Buffers the last samples at the model's rate and cuts a window of `spec.window` every `spec.hop` samples. */
export class Windower {
  private tS: Float64Array = new Float64Array(0);
  private x: Float32Array = new Float32Array(0);

  constructor(
    private readonly spec: InputSpec,
    private readonly channels: number,
  ) {}

  /** Forget the samples so far: the next one does not continue them. */
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
  private readonly gapDetector: GapDetector;
  private readonly windower: Windower;
  private resampler: Resampler | null = null;
  private pending: Span[] = [];

  constructor(
    private readonly spec: InputSpec,
    private readonly stream: StreamInfo,
  ) {
    this.gapDetector = new GapDetector(stream.channels, spec.max_gap_s);
    this.windower = new Windower(spec, stream.channels);
  }

  /** Counts of all samples so far. */
  get stats(): StreamStats {
    return this.gapDetector.stats;
  }

  /** Windows and gaps that (n) times in seconds and (n * C) samples complete. */
  update(tS: Float64Array, x: Float32Array): (Window | Gap)[] {
    const events: (Window | Gap)[] = [];
    for (const span of this.gapDetector.split(tS, x)) {
      if (span.gap) {
        events.push(span.gap);
        this.reset();
      }
      const ready = this.resamplable(span);
      if (ready && this.resampler) {
        const windows = this.windower.update(this.resampler.update(ready.tS, ready.x));
        this.stats.windows += windows.length;
        events.push(...windows);
      }
    }
    return events;
  }

  /** Forget the samples so far: the next one does not continue them. */
  reset(): void {
    this.resampler = null;
    this.pending = [];
    this.windower.reset();
  }

  /** Samples that can be resampled now: none until the rate of this stretch is measured, then all pending ones. */
  private resamplable(span: Span): Grid | null {
    if (this.resampler) return span;
    this.pending.push(span);
    if (span.tS[span.tS.length - 1] - this.pending[0].tS[0] < MEASURE_S) return null;
    const { tS, x } = this.pending.reduce((all, part) => ({
      tS: joined(all.tS, part.tS),
      x: joined(all.x, part.x),
      gap: null,
    }));
    this.pending = [];
    const n = tS.findIndex((t) => t - tS[0] >= MEASURE_S);
    const rateHz = this.sourceRate(n / (tS[n] - tS[0]));
    this.resampler = new Resampler(this.stream.channels, rateHz, this.spec.rate_hz);
    return { tS, x };
  }

  /** The rate to resample from: the stream's or the model's nominal rate if the measured one is close, else that. */
  private sourceRate(measuredHz: number): number {
    const nominal = [this.stream.rateHz, this.spec.rate_hz];
    return nominal.find((hz) => hz && Math.abs(measuredHz / hz - 1) < RATE_TOLERANCE) ?? measuredHz;
  }
}
