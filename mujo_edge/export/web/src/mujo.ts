/** `mujo.js`: what another page imports to recognize a stream of its own. */

export { ContractError, parseContract } from "./core/contract";
export { names } from "./core/labels";
export { Recognizer } from "./core/recognizer";
export type * from "./core/types";
export { openRuntime, RuntimeUnavailable } from "./runtime";
