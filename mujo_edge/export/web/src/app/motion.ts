/**
 * The motion sensor of this device, in SI units and in the sensor frame of the training data.
 *
 * Sign: W3C DeviceOrientation has +9.8 on the axis that points up. WebKit, the engine of all browsers on iOS, reports
 * Core Motion's opposite sign (WebCoreMotionManager.mm); it is detected by navigator.vendor and inverted. In
 * rotationRate, alpha, beta and gamma are about x, y and z in all engines, in deg/s. The axes do not rotate with the
 * screen.
 */

const DEG = Math.PI / 180;

/** Consecutive samples: `tS` (n) seconds since the first of the session, `x` (n * C) m/s2 and rad/s, row by row. */
export interface Batch {
  readonly tS: Float64Array;
  readonly x: Float32Array;
}

/** A source of samples; `channels` is null before the first one. */
export interface Sensor {
  readonly channels: 3 | 6 | null;
  /** Whether no more samples will come. */
  readonly ended: boolean;
  start(): void;
  stop(): void;
  /** The samples since the last call. */
  take(): Batch;
}

/** Motion is unavailable; the message is for the user. */
export class SensorError extends Error {}

type WithPermission = { requestPermission?: () => Promise<PermissionState> };

/** Request motion permission, which iOS allows only right after a tap. Throws `SensorError`. */
export async function allowMotion(): Promise<void> {
  if (!window.isSecureContext) {
    throw new SensorError(
      "The browser gives motion only to pages opened with https. Open this page's https address instead.",
    );
  }
  if (typeof DeviceMotionEvent === "undefined") {
    throw new SensorError(
      "This browser has no motion events. Try Safari on an iPhone, or Chrome or Firefox on Android.",
    );
  }
  const motionEvent = DeviceMotionEvent as unknown as WithPermission;
  if (!motionEvent.requestPermission) return;
  let answer: PermissionState;
  try {
    answer = await motionEvent.requestPermission();
  } catch (error) {
    throw new SensorError(`Motion access could not be requested: ${(error as Error).message}`);
  }
  if (answer !== "granted") {
    throw new SensorError(
      "Motion access was refused. Close all tabs of this page, or allow motion in the browser's settings for it, " +
        "and tap Start again.",
    );
  }
}

/** Collects motion events between `start` and `stop`; `take` returns the samples so far. */
export class Motion implements Sensor {
  readonly ended = false;
  private readonly sign = navigator.vendor.startsWith("Apple") ? -1 : 1;
  private times: number[] = [];
  private rows: number[] = [];
  private originMs: number | null = null;
  /** Set by the first sample: 3 for a device without gyroscope. */
  channels: 3 | 6 | null = null;

  start(): void {
    addEventListener("devicemotion", this.moved);
  }

  stop(): void {
    removeEventListener("devicemotion", this.moved);
  }

  /** The samples since the last call. */
  take(): Batch {
    const batch = { tS: Float64Array.from(this.times), x: Float32Array.from(this.rows) };
    this.times = [];
    this.rows = [];
    return batch;
  }

  private readonly moved = (event: DeviceMotionEvent): void => {
    const a = event.accelerationIncludingGravity;
    const r = event.rotationRate;
    // Without a sensor, browsers send one event of nulls.
    if (!a || a.x === null || a.y === null || a.z === null) return;
    const turns = r !== null && r.alpha !== null && r.beta !== null && r.gamma !== null;
    this.channels ??= turns ? 6 : 3;
    this.originMs ??= event.timeStamp;
    this.times.push((event.timeStamp - this.originMs) / 1000);
    this.rows.push(this.sign * a.x, this.sign * a.y, this.sign * a.z);
    if (this.channels === 6) this.rows.push((r?.alpha ?? NaN) * DEG, (r?.beta ?? NaN) * DEG, (r?.gamma ?? NaN) * DEG);
  };
}

/** Wake lock that keeps the screen on while held; the browser releases it whenever the page is hidden. */
export class Awake {
  private lock: WakeLockSentinel | null = null;
  private held = false;

  hold(): void {
    this.held = true;
    document.addEventListener("visibilitychange", this.ask);
    void this.ask();
  }

  release(): void {
    this.held = false;
    document.removeEventListener("visibilitychange", this.ask);
    void this.lock?.release();
    this.lock = null;
  }

  private readonly ask = async (): Promise<void> => {
    if (document.hidden || !("wakeLock" in navigator)) return;
    // The browser may refuse, as with a low battery; the session works without it.
    const lock = await navigator.wakeLock.request("screen").catch(() => null);
    if (this.held) this.lock = lock;
    else void lock?.release();
  };
}
