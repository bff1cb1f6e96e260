// The accelerometer of a Bangle.js over its Bluetooth console, for mujo-edge.
//
// firmware_bridge/profiles/banglejs.py uploads this expression and calls it with a rate in Hz (12.5, 25, 50 or 100)
// and the number of samples in a line. The line is described there. Comments are left out of the upload and lines are
// joined, so every statement ends in a semicolon.
function (hz, batch) {
  var bytes = new Uint8Array(12 + 6 * batch);
  var words = new Uint32Array(bytes.buffer, 0, 3);
  var checked = new Uint8Array(bytes.buffer, 4);
  var xyz = new Int16Array(bytes.buffer, 12);
  var first = 0;
  var at = 0;
  var began = getTime();

  // KX023: CNTL1 (0x18) and ODCNTL (0x1b). The latter can only be set while the top bit of the former is clear.
  function accelerometer(control, output) {
    Bangle.accelWr(0x18, control & 0x7f);
    Bangle.accelWr(0x1b, output);
    Bangle.accelWr(0x18, control);
  }

  // Espruino gives 1/8192 g in a range of 4 g, and the same counts in any other.
  function onAccel(a) {
    xyz[at] = a.x * 8192;
    xyz[at + 1] = a.y * 8192;
    xyz[at + 2] = a.z * 8192;
    at += 3;
    if (at < xyz.length) return;
    words[1] = first;
    words[2] = Math.round((getTime() - began) * 1000);
    words[0] = E.CRC32(checked);
    // A tilde, written so that an echo of this line has none.
    Bluetooth.write("\x7e" + btoa(bytes) + "\n");
    first += batch;
    at = 0;
  }

  // Everything as it is when the watch starts: 4 g, 12.5 Hz, polled every 80 ms and more seldom when it lies still.
  function stop() {
    Bangle.removeListener("accel", onAccel);
    NRF.removeListener("disconnect", stop);
    E.removeListener("kill", stop);
    accelerometer(0xec, 0x00);
    Bangle.setPollInterval(80);
    Bangle.setOptions({ powerSave: true });
    global.mujo = undefined;
  }

  // 8 g, high resolution, data ready, tap; low pass at half the rate. Polled as often as can be, since the chip has a
  // clock of its own and a poll that finds nothing new gives no event.
  accelerometer(0xf4, 0x40 | [12.5, 25, 50, 100].indexOf(hz));
  Bangle.setPollInterval(10);
  Bangle.on("accel", onAccel);
  NRF.on("disconnect", stop);
  E.on("kill", stop);
  return { hz: hz, stop: stop };
}
