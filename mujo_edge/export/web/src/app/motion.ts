/**
 * The motion sensor of this device, in SI units and the sensor frame that the model was trained in.
 *
 * Sign: W3C DeviceOrientation has +9.8 on the axis that points up. WebKit, which is every browser of iOS, passes on
 * Core Motion's opposite sign (WebCoreMotionManager.mm); it is known by navigator.vendor and turned. In rotationRate alpha,
 * beta and gamma are about x, y and z in all engines, in deg/s. Neither turns with the screen.
 */

const DEG = Math.PI / 180;

/** Consecutive samples: `tS` (n) seconds since the first of the session, `x` (n * C) m/s2 and rad/s, row by row. */
export interface Batch {
  readonly tS: Float64Array;
  readonly x: Float32Array;
}

/** Why there is no motion; the message is for the person. */
export class SensorError extends Error {}

type Asks = { requestPermission?: () => Promise<PermissionState> };

/** Ask for motion, which iOS allows only right after a tap. Throws `SensorError`. */
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
  const asks = DeviceMotionEvent as unknown as Asks;
  if (!asks.requestPermission) return;
  let answer: PermissionState;
  try {
    answer = await asks.requestPermission();
  } catch (error) {
    throw new SensorError(`Motion access could not be asked for: ${(error as Error).message}`);
  }
  if (answer !== "granted") {
    throw new SensorError(
      "Motion access was refused. Close all tabs of this page, or allow motion in the browser's settings for it, " +
        "and tap Start again.",
    );
  }
}

/** Collects motion events between `start` and `stop`; `take` hands over what came. */
export class Motion {
  private readonly sign = navigator.vendor.startsWith("Apple") ? -1 : 1;
  private times: number[] = [];
  private rows: number[] = [];
  private originMs: number | null = null;
  /** Known with the first sample; a device without a gyroscope has 3. */
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
    // Where there is no sensor, browsers send one event of nulls.
    if (!a || a.x === null || a.y === null || a.z === null) return;
    const turns = r !== null && r.alpha !== null && r.beta !== null && r.gamma !== null;
    this.channels ??= turns ? 6 : 3;
    this.originMs ??= event.timeStamp;
    this.times.push((event.timeStamp - this.originMs) / 1000);
    this.rows.push(this.sign * a.x, this.sign * a.y, this.sign * a.z);
    if (this.channels === 6) this.rows.push((r?.alpha ?? NaN) * DEG, (r?.beta ?? NaN) * DEG, (r?.gamma ?? NaN) * DEG);
  };
}

/** Keeps the screen on while it is held; the browser lets go whenever the page is hidden. */
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
    // Refused when the battery is low: only a comfort, and nothing is lost by it.
    const lock = await navigator.wakeLock.request("screen").catch(() => null);
    if (this.held) this.lock = lock;
    else void lock?.release();
  };
}
