/** `mujo.js`: the API for other pages to recognize streams of their own. */

export { ContractError, parseContract } from "./core/contract";
export { names } from "./core/labels";
export { Recognizer } from "./core/recognizer";
export type * from "./core/types";
export { openRuntime, RuntimeUnavailable } from "./runtime";
