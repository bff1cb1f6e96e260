// What mujo.js sees of a Bangle.js, for node: the console, the accelerometer chip, and Espruino's functions that it
// calls. One JSON message a line on stdin, one JSON answer a line on stdout.
"use strict";
const { EventEmitter } = require("events");
const vm = require("vm");

const registers = { 0x18: 0xec, 0x1b: 0x00 };
const state = { poll: 80, powerSave: true };
let out = "";
let now_s = 0;
let line = "";
let echo = true;

function crc32(data) {
  const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

global.Bangle = Object.assign(new EventEmitter(), {
  accelWr(register, value) {
    if (!(register in registers) || !Number.isInteger(value) || value < 0 || value > 255) throw new Error("accelWr");
    if (register === 0x1b && registers[0x18] & 0x80) throw new Error("ODCNTL cannot be set while the chip runs");
    registers[register] = value;
  },
  setPollInterval(ms) {
    if (!(ms >= 10 && ms <= 4000)) throw new Error("Invalid interval");
    state.poll = ms;
    state.powerSave = false;
  },
  setOptions(options) {
    Object.assign(state, options);
  },
});
global.NRF = new EventEmitter();
global.E = Object.assign(new EventEmitter(), { CRC32: crc32 });
global.Bluetooth = { write: (text) => { out += text; } };
global.getTime = () => now_s;
global.btoa = (data) => Buffer.from(data).toString("base64");
global.print = (text) => { out += text + "\r\n"; };

function type(character) {
  if (character === "\x03") {
    line = "";
    echo = true;
    out += "\r\n>";
  } else if (character === "\x10" && line === "") {
    echo = false;
  } else if (character === "\n") {
    try {
      vm.runInThisContext(line);
    } catch (error) {
      out += "Uncaught " + error + "\r\n";
    }
    if (echo) out += "\r\n>";
    line = "";
    echo = true;
  } else {
    line += character;
    if (echo) out += character;
  }
}

const RANGE_G = [2, 4, 8];

function sample(g) {
  const range = RANGE_G[(registers[0x18] >> 3) & 3];
  const [x, y, z] = g.map((value) => Math.max(-32768, Math.min(32767, Math.round((value * 32768) / range))) / 8192);
  Bangle.emit("accel", { x, y, z });
}

require("readline").createInterface({ input: process.stdin }).on("line", (message) => {
  const { typed = "", g = null, at_s = now_s, event = null } = JSON.parse(message);
  now_s = at_s;
  out = "";
  for (const character of typed) type(character);
  if (g) sample(g);
  if (event === "disconnect") NRF.emit("disconnect");
  if (event === "kill") E.emit("kill");
  const answer = { out, registers, listening: Bangle.listenerCount("accel") > 0, loaded: !!global.mujo, ...state };
  answer.handlers = NRF.listenerCount("disconnect") + E.listenerCount("kill");
  process.stdout.write(JSON.stringify(answer) + "\n");
});
