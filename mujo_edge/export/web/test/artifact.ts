/** The folder that MUJO_ARTIFACT names: mujo.json and golden/, from `mujo-edge export`. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { vi } from "vitest";
import { parseContract } from "../src/core/contract";
import type { Contract } from "../src/core/types";

const artifact = process.env["MUJO_ARTIFACT"];
if (!artifact) throw new Error("MUJO_ARTIFACT names no folder with mujo.json and golden/");

vi.setConfig({ testTimeout: 120_000 }); // for machines that have other things to do

export async function read(name: string): Promise<ArrayBuffer> {
  const bytes = await readFile(join(artifact as string, name));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

export async function readTable(): Promise<Record<string, unknown>> {
  return JSON.parse(new TextDecoder().decode(await read("mujo.json"))) as Record<string, unknown>;
}

export async function readContract(): Promise<Contract> {
  return parseContract(await readTable());
}
