/**
 * Resampling and preprocessing, the twin of Python's `mujo_edge.signal`: computed in float64, results are float32.
 *
 * Streams are row by row, C values each; model input is channel first.
 */

import type { InputSpec } from "./types";

/** Smallest step of time between samples in seconds, which `GapDetector` guarantees. */
export const MIN_STEP_S = 100e-6;

/** Times this close to a multiple of the interval are snapped to it, which undoes the rounding of decimal files. */
const SNAP_S = 20e-6;

/** Consecutive samples at the model's rate: `tS` (m) device time, `x` (m * C). */
export interface Grid {
  readonly tS: Float64Array;
  readonly x: Float32Array;
}

/** Odd-length windowed-sinc (Hamming) low-pass at 0.45 * `toHz` for samples at `rateHz`; sums to 1. */
export function lowpassKernel(rateHz: number, toHz: number): Float64Array {
  const half = Math.ceil((4 * rateHz) / toHz);
  const kernel = Float64Array.from({ length: 2 * half + 1 }, (_, i) => {
    const y = Math.PI * (((0.9 * toHz) / rateHz) * (i - half));
    return (y === 0 ? 1 : Math.sin(y) / y) * (0.54 + 0.46 * Math.cos((Math.PI * (i - half)) / half));
  });
  const sum = kernel.reduce((total, value) => total + value, 0);
  return kernel.map((value) => value / sum);
}

/** Valid-mode FIR of (n * C) along time -> ((n - kernel.length + 1) * C). */
export function fir(x: Float64Array, channels: number, kernel: Float64Array): Float64Array {
  const y = new Float64Array(x.length - (kernel.length - 1) * channels);
  for (let k = 0; k < kernel.length; k++) {
    const weight = kernel[kernel.length - 1 - k];
    for (let i = 0; i < y.length; i++) y[i] += weight * x[i + k * channels];
  }
  return y;
}

/** First index of sorted `u` whose value exceeds `value` (if `after`), or is not less than it. */
export function search(u: Float64Array, value: number, after: boolean): number {
  let low = 0;
  let high = u.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (after ? u[middle] <= value : u[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Concatenation of two arrays. */
export function joined<A extends Float32Array | Float64Array>(a: A, b: A): A {
  const both = new (a.constructor as new (length: number) => A)(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/**
 * Resamples a stream: samples with device times in, chunk by chunk, samples on a uniform grid out. Any split into
 * chunks gives the same bits.
 *
 * Samples at exactly `toHz` pass through unchanged. Jitter and missing samples are interpolated linearly. A faster
 * source is interpolated on a grid of its own rate, then low-passed, which delays it by half a kernel.
 */
export class Resampler {
  private startS: number | null = null;
  private readonly output: Polyline;
  private readonly even: Polyline;
  private readonly kernel: Float64Array | null;
  private delayed: Float64Array | null = null;
  private filtered = 0;

  constructor(
    private readonly channels: number,
    private readonly rateHz: number,
    private readonly toHz: number,
  ) {
    this.output = new Polyline(channels, rateHz, toHz);
    this.even = new Polyline(channels, 1, 1);
    this.kernel = rateHz > toHz ? lowpassKernel(rateHz, toHz) : null;
  }

  /** (n) seconds and (n * C) samples -> the grid points that they complete, none or more. */
  update(tS: Float64Array, x: Float32Array): Grid {
    this.startS ??= tS.length ? tS[0] : null;
    const startS = this.startS ?? 0;
    let u: Float64Array = tS.map((t) => {
      const at = (t - startS) * this.rateHz;
      const whole = Math.round(at);
      return Math.abs(at - whole) <= SNAP_S * this.rateHz ? whole : at;
    });
    let y: Float64Array = Float64Array.from(x);
    if (this.kernel) {
      y = this.even.extend(u, y).x;
      ({ k: u, x: y } = this.lowpass(this.kernel, y));
    }
    const grid = this.output.extend(u, y);
    return { tS: grid.k.map((k) => startS + k / this.toHz), x: Float32Array.from(grid.x) };
  }

  /** Consecutive evenly spaced samples -> index and values of those that the kernel now covers. */
  private lowpass(kernel: Float64Array, x: Float64Array): Points {
    const { channels } = this;
    const half = (kernel.length - 1) / 2;
    if (this.delayed) {
      x = joined(this.delayed, x);
    } else if (x.length) {
      const padding = Float64Array.from({ length: half * channels }, (_, i) => x[i % channels]);
      x = joined(padding, x);
    } else {
      return { k: new Float64Array(0), x };
    }
    this.delayed = x.slice(-2 * half * channels);
    const points = x.length / channels - 2 * half;
    if (points <= 0) return { k: new Float64Array(0), x: x.subarray(0, 0) };
    const k = Float64Array.from({ length: points }, (_, i) => this.filtered + i);
    this.filtered += points;
    return { k, x: fir(x, channels, kernel) };
  }
}

interface Points {
  readonly k: Float64Array;
  readonly x: Float64Array;
}

/** Linear interpolation of a stream of knots at k * numerator / denominator for k = 0, 1, 2, ... */
class Polyline {
  private next = 0;
  private u: Float64Array = new Float64Array(0);
  private x: Float64Array = new Float64Array(0);

  constructor(
    private readonly channels: number,
    private readonly numerator: number,
    private readonly denominator: number,
  ) {}

  /** Add (n) positions and (n * C) values -> the points now covered. */
  extend(u: Float64Array, x: Float64Array): Points {
    const { channels } = this;
    u = this.u = joined(this.u, u);
    x = this.x = joined(this.x, x);
    const ks: number[] = [];
    const values: number[] = [];
    let left = 0;
    for (; u.length && this.at(this.next) <= u[u.length - 1]; this.next++) {
      const at = Math.max(this.at(this.next), u[0]);
      while (left + 1 < u.length && u[left + 1] <= at) left++;
      ks.push(this.next);
      for (let c = 0; c < channels; c++) {
        const value = x[left * channels + c];
        // Exactly the sample where a point falls on one, else numpy.interp's formula.
        const slope = at > u[left] ? (x[(left + 1) * channels + c] - value) / (u[left + 1] - u[left]) : 0;
        values.push(at > u[left] ? value + slope * (at - u[left]) : value);
      }
    }
    const keep = Math.max(search(u, this.at(this.next), true) - 1, 0);
    this.u = u.slice(keep);
    this.x = x.slice(keep * channels);
    return { k: Float64Array.from(ks), x: Float64Array.from(values) };
  }

  private at(k: number): number {
    return (k * this.numerator) / this.denominator;
  }
}

/**
 * (T * C) m/s2 and rad/s, row by row, with C = 3 or 6 -> model input (6 * T), channel first, scaled and clipped. With
 * three channels the gyroscope half is zero, as in training.
 */
export function prepare(window: Float32Array, spec: InputSpec): Float32Array {
  const channels = window.length / spec.window;
  const out = new Float32Array(spec.channels.length * spec.window);
  for (let c = 0; c < channels; c++) {
    const scale = Math.fround(spec.scale[c]);
    for (let i = 0; i < spec.window; i++) {
      const value = Math.fround(window[i * channels + c] / scale);
      out[c * spec.window + i] = Math.min(Math.max(value, -spec.clip), spec.clip);
    }
  }
  return out;
}
