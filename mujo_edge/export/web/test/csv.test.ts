/** CSV in the format of Python's csv module. */

import { expect, test } from "vitest";
import { parseCsv } from "../src/golden";

test("fields with commas, quotes and line ends are parsed", () => {
  expect(parseCsv('a,b\n1,"sit, ""or""\nstand"\n,2\r\n')).toEqual([
    { a: "1", b: 'sit, "or"\nstand' },
    { a: "", b: "2" },
  ]);
});

test.each(["", "\n", "a,b\n"])("%j holds no lines", (csv) => {
  expect(parseCsv(csv)).toEqual([]);
});

test("truncated line has empty fields", () => {
  expect(parseCsv("a,b\n1")).toEqual([{ a: "1", b: "" }]);
});
