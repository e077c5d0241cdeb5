// Draws a chart as SVG from its numbers, with a legend, and its numbers as a table.
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 62, right: 14, top: 10, bottom: 44 };
const ROOM_FOR_RULES = 22; // above rows that have names, so that no label covers one

function element(name, attributes = {}, text = "", namespace = SVG) {
  const made = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return made;
}

function html(name, attributes = {}, text = "") {
  return element(name, attributes, text, "http://www.w3.org/1999/xhtml");
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function compact(value) {
  for (const [unit, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= unit * 0.9995) return Number((value / unit).toPrecision(3)) + letter;
  }
  return String(Number(value.toPrecision(3)));
}

function shown(value, kind, digits = 3) {
  if (!isNumber(value)) return "–";
  if (kind === "percent") return Number((100 * value).toPrecision(digits)) + "%";
  if (kind === "count") return compact(value);
  return String(Number(value.toPrecision(digits)));
}

function ticksOf(low, high, kind, room) {
  const most = Math.max(2, Math.floor(room));
  if (kind === "count") {
    const powers = [];
    const marks = [[1, 2, 5], [1, 3], [1]].find((steps) => Math.log10(high / low) * steps.length <= most) || [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const mark of marks) powers.push(mark * 10 ** power);
    }
    const inside = powers.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    return inside.length > 1 ? inside.filter((_, k) => k % Math.ceil(inside.length / most) === 0) : [low, high];
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
  return ticks;
}

function scaleOf(values, axis, from, to, pad) {
  if (axis.names && axis.names.length) {
    const step = (to - from) / axis.names.length;
    return { at: (value) => from + (value + 0.5) * step, low: 0, high: axis.names.length - 1 };
  }
  const known = values.filter(isNumber).filter((value) => axis.kind !== "count" || value > 0);
  let low = Math.min(...known), high = Math.max(...known);
  if (!known.length) { low = 0; high = 1; }
  if (low === high) { low -= Math.abs(low) * 0.05 || 1; high += Math.abs(high) * 0.05 || 1; }
  if (axis.kind === "count") {
    return { at: (value) => from + ((to - from) * Math.log(value / low)) / Math.log(high / low), low, high };
  }
  const room = pad * (high - low);
  low = axis.fromZero ? 0 : low - room; high += room;
  return { at: (value) => from + ((to - from) * (value - low)) / (high - low), low, high };
}

function extent(chart, along) {
  const values = [];
  for (const one of chart.series) {
    if (along === "x") values.push(...one.x, ...(one.kind === "bars" ? [...one.low, ...one.high] : []));
    else values.push(...one.y, ...(one.kind === "band" ? [...one.low, ...one.high] : []));
  }
  for (const rule of chart.rules) if (rule.axis === along) values.push(rule.at);
  return values;
}

function pathOf(x, y, scales) {
  let path = "", isOpen = false;
  x.forEach((value, k) => {
    const is = isNumber(value) && isNumber(y[k]);
    if (is) path += `${isOpen ? "L" : "M"}${scales.x.at(value).toFixed(1)} ${scales.y.at(y[k]).toFixed(1)}`;
    isOpen = is;
  });
  return path;
}

// The stretches of a series without a gap, as lists of indices.
function stretchesOf(one, isKnown) {
  const stretches = [];
  one.x.forEach((value, k) => {
    if (!isNumber(value) || !isKnown(k)) return;
    if (k > 0 && isNumber(one.x[k - 1]) && isKnown(k - 1)) stretches[stretches.length - 1].push(k);
    else stretches.push([k]);
  });
  return stretches;
}

function drawBand(group, one, scales) {
  for (const known of stretchesOf(one, (k) => isNumber(one.low[k]) && isNumber(one.high[k]))) {
    const back = known.slice().reverse();
    if (known.length === 1) {
      const [k] = known, x = scales.x.at(one.x[k]).toFixed(1);
      group.append(element("line", { class: "bar", x1: x, x2: x, y1: scales.y.at(one.low[k]).toFixed(1), y2: scales.y.at(one.high[k]).toFixed(1) }));
      continue;
    }
    const edge = pathOf(known.map((k) => one.x[k]), known.map((k) => one.high[k]), scales);
    const other = pathOf(back.map((k) => one.x[k]), back.map((k) => one.low[k]), scales).replace("M", "L");
    group.append(element("path", { class: "area", d: `${edge}${other}Z` }));
  }
}

function drawLine(group, one, scales) {
  group.append(element("path", { class: "curve", d: pathOf(one.x, one.y, scales) }));
  for (const [k, ...more] of stretchesOf(one, (k) => isNumber(one.y[k]))) {
    if (more.length) continue;
    group.append(element("circle", { class: "dot", cx: scales.x.at(one.x[k]).toFixed(1), cy: scales.y.at(one.y[k]).toFixed(1), r: 4 }));
  }
}

// Points measured under other conditions than the curve's are hollow.
function dotOf(one) {
  return one.isHollow ? "dot hollow" : "dot";
}

function drawSeries(svg, one, scales) {
  const group = element("g", { class: `k${one.color}` });
  if (one.kind === "line") drawLine(group, one, scales);
  if (one.kind === "band") drawBand(group, one, scales);
  one.x.forEach((value, k) => {
    if (one.kind === "points" && isNumber(value) && isNumber(one.y[k])) {
      const size = one.x.length > 60 ? 2.2 : 4;
      group.append(element("circle", { class: dotOf(one), cx: scales.x.at(value).toFixed(1), cy: scales.y.at(one.y[k]).toFixed(1), r: size }));
    }
    if (one.kind === "bars" && isNumber(one.low[k]) && isNumber(one.high[k])) {
      const y = scales.y.at(one.y[k]).toFixed(1);
      group.append(element("line", { class: "bar", x1: scales.x.at(one.low[k]).toFixed(1), x2: scales.x.at(one.high[k]).toFixed(1), y1: y, y2: y }));
    }
  });
  svg.append(group);
}

function drawAxes(svg, chart, scales, width, height, left) {
  const bottom = height - MARGIN.bottom, right = width - MARGIN.right;
  const across = ticksOf(scales.x.low, scales.x.high, chart.x.kind, (right - left) / 70);
  for (const value of across) {
    const x = scales.x.at(value);
    svg.append(element("line", { class: "grid", x1: x, x2: x, y1: MARGIN.top, y2: bottom }));
    svg.append(element("text", { x, y: bottom + 16, "text-anchor": "middle" }, shown(value, chart.x.kind)));
  }
  const names = chart.y.names || [];
  const up = names.length ? names.map((_, k) => k) : ticksOf(scales.y.low, scales.y.high, chart.y.kind, (bottom - MARGIN.top) / 36);
  for (const value of up) {
    const y = scales.y.at(value);
    if (!names.length) svg.append(element("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    svg.append(element("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, names.length ? names[value] : shown(value, chart.y.kind, 4)));
  }
  svg.append(element("text", { class: "quiet", x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, chart.x.label));
  if (!names.length) {
    const middle = (MARGIN.top + bottom) / 2;
    svg.append(element("text", { class: "quiet", transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, chart.y.label));
  }
}

function drawRules(svg, chart, scales, width, height, left) {
  let level = 0;
  for (const rule of chart.rules) {
    if (!isNumber(rule.at)) continue;
    if (rule.axis === "y") {
      const y = scales.y.at(rule.at);
      svg.append(element("line", { class: "rule", x1: left, x2: width - MARGIN.right, y1: y, y2: y }));
      if (rule.name) svg.append(element("text", { x: width - MARGIN.right - 4, y: y - 5, "text-anchor": "end" }, rule.name));
      continue;
    }
    const x = scales.x.at(rule.at), isRight = x > (left + width) / 2;
    svg.append(element("line", { class: "rule", x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom }));
    svg.append(element("text", { x: x + (isRight ? -5 : 5), y: MARGIN.top + 14 + 15 * level++, "text-anchor": isRight ? "end" : "start" }, rule.name));
  }
}

function drawing(chart, width) {
  const names = chart.y.names || [];
  const above = names.length && chart.rules.length ? ROOM_FOR_RULES : 0;
  const height = names.length ? MARGIN.top + above + MARGIN.bottom + 26 * names.length : Math.min(330, Math.round(0.68 * width));
  const longest = Math.max(0, ...names.map((name) => name.length));
  const left = names.length ? Math.min(0.45 * width, 14 + 6.6 * longest) : MARGIN.left;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${chart.title}. ${chart.alt}` });
  const isReal = names.length > 0;
  const scales = {
    x: scaleOf(extent(chart, "x"), chart.x, left, width - MARGIN.right, chart.x.kind === "percent" ? 0.02 : 0.04),
    y: scaleOf(extent(chart, "y"), chart.y, isReal ? MARGIN.top + above : height - MARGIN.bottom, isReal ? height - MARGIN.bottom : MARGIN.top, 0.06),
  };
  drawAxes(svg, chart, scales, width, height, left);
  for (const one of chart.series) drawSeries(svg, one, scales);
  drawRules(svg, chart, scales, width, height, left);
  return svg;
}

function legendOf(chart) {
  const list = html("ul", { class: "legend" });
  for (const one of chart.series) {
    const item = html("li");
    const key = element("svg", { viewBox: "0 0 24 11", "aria-hidden": "true", class: `k${one.color}` });
    if (one.kind === "line") key.append(element("line", { class: "curve", x1: 0, x2: 24, y1: 5.5, y2: 5.5 }));
    if (one.kind === "bars") key.append(element("line", { class: "bar", x1: 0, x2: 24, y1: 5.5, y2: 5.5 }));
    if (one.kind === "band") key.append(element("rect", { class: "area", x: 0, y: 0, width: 24, height: 11 }));
    if (one.kind === "points") key.append(element("circle", { class: dotOf(one), cx: 12, cy: 5.5, r: 4 }));
    item.append(key, html("bdi", {}, one.name));
    list.append(item);
  }
  return list;
}

function tableOf(columns, rows, caption) {
  const table = html("table");
  table.append(html("caption", {}, caption));
  const head = html("tr");
  for (const name of columns) head.append(html("th", { scope: "col" }, name));
  table.append(html("thead"));
  table.firstChild.nextSibling.append(head);
  const body = html("tbody");
  for (const row of rows) {
    const line = html("tr");
    for (const cell of row) line.append(html("td", {}, isNumber(cell) ? String(Number(cell.toPrecision(7))) : cell ?? "–"));
    body.append(line);
  }
  table.append(body);
  return table;
}

function numbersOf(chart) {
  const details = html("details");
  details.append(html("summary", {}, "Every number of this chart"));
  details.addEventListener("toggle", () => {
    if (details.childNodes.length > 1) return;
    const box = html("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Numbers of ${chart.title}` });
    for (const one of chart.series) {
      const hasBounds = one.low.length > 0;
      const columns = [chart.x.label, ...(one.y.length ? [chart.y.label] : []), ...(hasBounds ? ["low", "high"] : [])];
      const name = (value) => (chart.y.names && chart.y.names.length ? chart.y.names[value] : value);
      const rows = one.x.map((value, k) => [value, ...(one.y.length ? [name(one.y[k])] : []), ...(hasBounds ? [one.low[k], one.high[k]] : [])]);
      box.append(tableOf(columns, rows, one.name));
    }
    details.append(box);
  });
  return details;
}

// A figure that is drawn anew where its width changes; the table of its numbers may stand elsewhere.
function figureOf(chart, host, hasNumbers = true) {
  const figure = html("figure");
  const width = Math.max(300, Math.round(host.clientWidth || 460));
  figure.append(html("h3", {}, chart.title), drawing(chart, width), legendOf(chart), html("figcaption", {}, chart.alt));
  if (hasNumbers) figure.append(numbersOf(chart));
  host.replaceChildren(figure);
}
