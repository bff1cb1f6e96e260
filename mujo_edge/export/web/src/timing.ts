/** Timing of calls with a clock that browsers deliberately coarsen (0.1 ms in Chromium, 1 ms in Safari). */

export interface Timing {
  readonly calls: number;
  /** Calls timed as a group, so that the clock's step is at most a tenth of the measured time. */
  readonly perGroup: number;
  readonly resolutionMs: number;
  readonly meanMs: number;
  /** Percentiles of the groups' means. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const WARM_UP = 100;
const GROUPS = 200;

/** Time sequential calls of `call`, after a warm-up. */
export async function timed(call: () => Promise<unknown>): Promise<Timing> {
  const resolutionMs = resolution();
  const warm = await elapsed(call, WARM_UP);
  const perGroup = Math.max(1, Math.ceil((10 * resolutionMs) / (warm / WARM_UP)));
  const means: number[] = [];
  for (let group = 0; group < GROUPS; group++) means.push((await elapsed(call, perGroup)) / perGroup);
  means.sort((a, b) => a - b);
  return {
    calls: GROUPS * perGroup,
    perGroup,
    resolutionMs,
    meanMs: means.reduce((sum, mean) => sum + mean, 0) / GROUPS,
    p50Ms: means[Math.floor(0.5 * GROUPS)],
    p99Ms: means[Math.floor(0.99 * GROUPS)],
  };
}

/** Milliseconds that `calls` sequential calls take. */
async function elapsed(call: () => Promise<unknown>, calls: number): Promise<number> {
  const startMs = performance.now();
  for (let i = 0; i < calls; i++) await call();
  return performance.now() - startMs;
}

/** The smallest step of the clock. */
function resolution(): number {
  let smallest = Infinity;
  for (let i = 0; i < 10; i++) {
    const startMs = performance.now();
    let now = startMs;
    while (now === startMs) now = performance.now();
    smallest = Math.min(smallest, now - startMs);
  }
  return smallest;
}
