// Streams the accelerometer of a Bangle.js over its Bluetooth console, for mujo-edge.
//
// firmware_bridge/profiles/banglejs.py uploads this expression and calls it with a rate in Hz (12.5, 25, 50 or 100)
// and the number of samples per line. The line is described there. The upload omits comments and joins lines, so every
// statement ends in a semicolon.
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

  // Espruino scales counts as in the range of 4 g, 1/8192 g, whatever the range is.
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

  // Restore the settings after boot: 4 g, 12.5 Hz, polled every 80 ms and less often while the watch lies still.
  function stop() {
    Bangle.removeListener("accel", onAccel);
    NRF.removeListener("disconnect", stop);
    E.removeListener("kill", stop);
    accelerometer(0xec, 0x00);
    Bangle.setPollInterval(80);
    Bangle.setOptions({ powerSave: true });
    global.mujo = undefined;
  }

  // 8 g, high resolution, data ready, tap; low pass at half the rate. Polled as often as possible, since the chip has
  // its own clock, and a poll without new data emits no event.
  accelerometer(0xf4, 0x40 | [12.5, 25, 50, 100].indexOf(hz));
  Bangle.setPollInterval(10);
  Bangle.on("accel", onAccel);
  NRF.on("disconnect", stop);
  E.on("kill", stop);
  return { hz: hz, stop: stop };
}
