/** onnxruntime-web, where LiteRT.js does not start: the int8 network (QDQ) on the CPU, one thread. */

import * as ort from "onnxruntime-web/wasm";
import type { Contract, Runtime } from "../core/types";

/** Open `model` (.onnx); onnxruntime-web takes its WebAssembly from `wasm`, the URL of a folder. */
export async function openOnnx(model: Uint8Array, wasm: string, contract: Contract): Promise<Runtime> {
  ort.env.wasm.numThreads = 1; // more need a page that is isolated from other origins
  const file = new URL("ort-wasm-simd-threaded", wasm).href; // the name says what it could do, not what it needs
  ort.env.wasm.wasmPaths = { mjs: `${file}.js`, wasm: `${file}.wasm` };
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  const shape = [1, contract.input.channels.length, 1, contract.input.window];
  return {
    name: "onnx",
    async embed(window) {
      const results = await session.run({ [input]: new ort.Tensor("float32", window, shape) });
      return (results[output].data as Float32Array).slice();
    },
    close: () => void session.release(),
  };
}
