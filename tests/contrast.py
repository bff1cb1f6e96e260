"""Contrast ratios of the text of a page in Chromium."""

CONTRAST = """(() => {
  const parsed = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a] };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => node === null ? [255, 255, 255]
    : over(parsed(getComputedStyle(node).backgroundColor), behind(node.parentElement));
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || !node.checkVisibility() || node.matches(":disabled, option, .spoken")) continue;
    const back = behind(node);
    const front = over(parsed(getComputedStyle(node).color), back);
    found.push([node.id || node.textContent.slice(0, 30), ratio(front, back)]);
  }
  for (const node of document.querySelectorAll("#score-bar, #lanes path")) {
    const bar = node.id === "score-bar";
    const front = parsed(getComputedStyle(node)[bar ? "backgroundColor" : "fill"]);
    const back = behind(bar ? node.parentElement : node.closest("svg"));
    found.push(["graphic " + (bar ? "score" : "lane"), ratio(over(front, back), back) * 1.5]);  // 3:1 is enough
  }
  return found;
})()"""
"""[element, contrast ratio] of every visible text (WCAG 2.2, 1.4.3) and, likewise, of graphics (1.4.11)."""
