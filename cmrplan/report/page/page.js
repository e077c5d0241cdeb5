// The page: static charts, the download, and the sliders, whose every stop shows the library's own numbers.
const report = JSON.parse(document.getElementById("report-data").textContent);
const SLIDERS = [
  ["model_params", "Model size"],
  ["train_tokens", "Training tokens"],
  ["tolerance", "Allowed general rise"],
  ["confidence", "Confidence"],
  ["domain_tokens", "Unique domain tokens"],
  ["domain_ratio", "A ratio of your own"],
];

function drawCharts() {
  for (const host of document.querySelectorAll(".chart-host")) {
    figureOf(report.sections[host.dataset.section].charts[host.dataset.chart], host);
  }
}

function offerDownload() {
  document.getElementById("download").addEventListener("click", async () => {
    const url = URL.createObjectURL(new Blob([await inflated(report.log)], { type: "text/csv" }));
    const link = html("a", { href: url, download: "log.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });
}

function makeSliders(explorer, state, changed) {
  const form = document.getElementById("sliders");
  for (const [name, label] of SLIDERS) {
    const stops = explorer.stops[name];
    const box = html("label", { for: name });
    const words = html("span", { id: `${name}-label` }, label);
    const output = html("output", { id: `${name}-text` });
    const input = html("input", { type: "range", min: 0, max: stops.length - 1, step: 1, id: name, "aria-labelledby": `${name}-label` });
    input.value = state[name];
    input.disabled = stops.length < 2;
    input.addEventListener("input", () => { state[name] = Number(input.value); changed(); });
    box.append(words, " ", output, input);
    form.append(box);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => {
    Object.assign(state, explorer.start);
    for (const [name] of SLIDERS) document.getElementById(name).value = state[name];
    changed();
  });
}

function stopText(explorer, name, stop) {
  if (name === "domain_ratio") return shown(explorer.stops.domain_ratio[stop], "percent", 4);
  return explorer.stops.texts[name][stop];
}

// Everything that is known of a setting, by name.
function numbersAt(explorer, arrays, state) {
  const { model_params: n, train_tokens: d, tolerance: k, confidence: c, domain_tokens: u, domain_ratio: r } = state;
  const v = arrays.domain_loss.shape[2] > 1 ? u : 0;
  const answers = Object.fromEntries(explorer.fields.map((name, f) => [name, at(arrays.answers, f, n, d, k, c, u)]));
  return {
    recommended: { ...answers, best_estimate: at(arrays.best_estimate, n, d, k, u) },
    own: {
      domain_ratio: explorer.stops.domain_ratio[r],
      general_loss: at(arrays.general_loss, n, d, v, r),
      general_loss_low: at(arrays.general_low, n, d, v, c, r),
      general_loss_high: at(arrays.general_high, n, d, v, c, r),
      domain_loss: at(arrays.domain_loss, n, d, v, r),
      domain_loss_low: at(arrays.domain_low, n, d, v, c, r),
      domain_loss_high: at(arrays.domain_high, n, d, v, c, r),
      violation_probability: at(arrays.violation_probability, n, d, v, k, r),
    },
    base_loss: at(arrays.base_loss, n, d),
    replay_loss: at(arrays.replay_loss, n, d),
    limit: at(arrays.limit, n, d, k),
    needed: at(arrays.needed, n, d, c, u),
    binding: at(arrays.binding, n, d, k, c, u),
    reason: explorer.reasons[`${n},${d},-1`] || explorer.reasons[`${n},${d},${u}`] || "",
  };
}

function curvesAt(explorer, arrays, state) {
  const { model_params: n, train_tokens: d, confidence: c, domain_tokens: u } = state;
  const v = arrays.domain_loss.shape[2] > 1 ? u : 0;
  const curves = {
    general: [at(arrays.general_loss, n, d, v), at(arrays.general_low, n, d, v, c), at(arrays.general_high, n, d, v, c)],
    domain: [at(arrays.domain_loss, n, d, v), at(arrays.domain_low, n, d, v, c), at(arrays.domain_high, n, d, v, c)],
  };
  return Object.fromEntries(Object.entries(curves).map(([name, parts]) => [name, parts.map((part) => Array.from(part))]));
}

function sentence(explorer, numbers, state) {
  const { recommended, needed, reason } = numbers;
  const level = stopText(explorer, "confidence", state.confidence);
  const rise = stopText(explorer, "tolerance", state.tolerance);
  const confidence = explorer.num_draws ? ` with ${level} confidence` : "";
  const over = explorer.rise_over === "replay" ? " of pure replay" : "";
  if (reason) return `No answer here: ${reason}.`;
  if (!isNumber(recommended.domain_ratio)) {
    const unit = rise.replace(/^[0-9.e+-]+/, "");
    const value = unit.startsWith("%") ? 100 * needed : needed;
    return `No domain ratio keeps the general loss within ${rise}${over}${confidence}; the smallest tolerance that one keeps is ${shown(value, "number")}${unit}.`;
  }
  const kept = rise === "any" ? "" : `, which keeps the general loss within ${rise}${over}${confidence}`;
  return `Recommended: ${(100 * recommended.domain_ratio).toFixed(1)}% domain data${kept}.`;
}

function rowsOf(numbers) {
  const { recommended: best, own, base_loss: base } = numbers;
  const rise = (one) => [one.general_loss - base, one.general_loss_low - base, one.general_loss_high - base];
  return [
    ["recommended-ratio", "recommended ratio", best.domain_ratio],
    ["best-ratio", "best estimate of the ratio", best.best_estimate, best.domain_ratio_low, best.domain_ratio_high],
    ["recommended-violation", "recommended: chance to break the limit", best.violation_probability],
    ["recommended-general", "recommended: general loss", best.general_loss, best.general_loss_low, best.general_loss_high],
    ["recommended-rise", "recommended: rise over the base", ...rise(best)],
    ["recommended-domain", "recommended: domain loss", best.domain_loss, best.domain_loss_low, best.domain_loss_high],
    ["own-ratio", "your own ratio", own.domain_ratio],
    ["own-violation", "your own: chance to break the limit", own.violation_probability],
    ["own-general", "your own: general loss", own.general_loss, own.general_loss_low, own.general_loss_high],
    ["own-rise", "your own: rise over the base", ...rise(own)],
    ["own-domain", "your own: domain loss", own.domain_loss, own.domain_loss_low, own.domain_loss_high],
    ["base-loss", "general loss of the base checkpoint", base],
    ["replay-loss", "general loss of pure replay", numbers.replay_loss],
    ["limit", "limit of the general loss", numbers.limit],
  ];
}

function fillTable(numbers) {
  const body = document.querySelector("#live-table tbody");
  body.replaceChildren();
  for (const [id, name, ...values] of rowsOf(numbers)) {
    const row = html("tr", { id: `row-${id}` });
    row.append(html("th", { scope: "row" }, name));
    for (let k = 0; k < 3; k++) {
      const value = values[k];
      row.append(html("td", isNumber(value) ? { "data-number": value } : {}, isNumber(value) ? value.toFixed(4) : k < values.length ? "–" : ""));
    }
    body.append(row);
  }
}

function lossChart(corpus, explorer, numbers, curve, state) {
  const [loss, low, high] = curve, x = explorer.stops.domain_ratio;
  const [ratio, measured] = explorer.measured[corpus][state.model_params][state.train_tokens];
  const series = [
    { name: `${stopText(explorer, "confidence", state.confidence)} interval`, kind: "band", x, y: [], low, high, color: 1 },
    { name: "fitted", kind: "line", x, y: loss, low: [], high: [], color: 1 },
  ];
  const supply = explorer.measured_supply[state.train_tokens][state.domain_tokens];
  const name = supply ? `measured, ${supply}` : "measured";
  if (ratio.length) series.push({ name, kind: "points", isHollow: supply !== "", x: ratio, y: measured, low: [], high: [], color: 2 });
  const rules = [{ axis: "x", at: numbers.recommended.domain_ratio, name: "recommended" }, { axis: "x", at: numbers.own.domain_ratio, name: "yours" }];
  if (corpus === "general") rules.push({ axis: "y", at: numbers.limit, name: "limit" }, { axis: "y", at: numbers.base_loss, name: "base" });
  const title = `${corpus === "general" ? "General" : "Domain"} loss by domain ratio`;
  const alt = `${shown(loss[0], "number", 4)} at ${shown(x[0], "percent")} domain data to ${shown(loss[loss.length - 1], "number", 4)} at ${shown(x[x.length - 1], "percent")}.`;
  return { title, alt, x: { label: "domain ratio", kind: "percent" }, y: { label: "loss (nats per token)", kind: "number" }, series, rules };
}

// Over the token stops: the loss of both corpora at the ratio of your own.
function tokensChart(explorer, arrays, state) {
  const x = explorer.stops.train_tokens, v = arrays.domain_loss.shape[2] > 1 ? state.domain_tokens : 0;
  const { model_params: n, confidence: c, domain_ratio: r } = state;
  const along = (array, ...rest) => x.map((_, d) => at(array, n, d, ...rest));
  const series = [
    { name: "general interval", kind: "band", x, y: [], low: along(arrays.general_low, v, c, r), high: along(arrays.general_high, v, c, r), color: 1 },
    { name: "general loss", kind: "line", x, y: along(arrays.general_loss, v, r), low: [], high: [], color: 1 },
    { name: "domain interval", kind: "band", x, y: [], low: along(arrays.domain_low, v, c, r), high: along(arrays.domain_high, v, c, r), color: 2 },
    { name: "domain loss", kind: "line", x, y: along(arrays.domain_loss, v, r), low: [], high: [], color: 2 },
  ];
  const rules = [{ axis: "x", at: explorer.probed_tokens, name: "largest probed" }];
  const alt = `At your own ratio, ${shown(explorer.stops.domain_ratio[r], "percent")}; beyond ${compact(explorer.probed_tokens)} tokens it is extrapolated.`;
  return { title: "Losses by training tokens", alt, x: { label: "training tokens", kind: "count" }, y: { label: "loss (nats per token)", kind: "number" }, series, rules };
}

function ratioChart(explorer, arrays, state) {
  const x = explorer.stops.train_tokens;
  const { model_params: n, tolerance: k, confidence: c, domain_tokens: u } = state;
  const field = (f) => x.map((_, d) => at(arrays.answers, f, n, d, k, c, u));
  const series = [
    { name: "interval of the best ratio", kind: "band", x, y: [], low: field(1), high: field(2), color: 4 },
    { name: "recommended", kind: "line", x, y: field(0), low: [], high: [], color: 4 },
    { name: "at the stops", kind: "points", x, y: field(0), low: [], high: [], color: 4 },
  ];
  const rules = [{ axis: "x", at: explorer.probed_tokens, name: "largest probed" }];
  return { title: "Recommended ratio by training tokens", alt: "Gaps are budgets at which no ratio keeps the limit.", x: { label: "training tokens", kind: "count" }, y: { label: "domain ratio", kind: "percent", fromZero: true }, series, rules };
}

function drawLive(explorer, arrays, state, numbers) {
  const box = document.getElementById("live-charts");
  while (box.children.length < 4) box.append(html("div"));
  const curves = curvesAt(explorer, arrays, state);
  figureOf(lossChart("general", explorer, numbers, curves.general, state), box.children[0], false);
  figureOf(lossChart("domain", explorer, numbers, curves.domain, state), box.children[1], false);
  figureOf(tokensChart(explorer, arrays, state), box.children[2], false);
  figureOf(ratioChart(explorer, arrays, state), box.children[3], false);
  const details = document.getElementById("live-curves");
  if (!details.open) return;
  const columns = ["domain ratio", ...["general", "domain"].flatMap((name) => [`${name} loss`, "low", "high"])];
  const rows = explorer.stops.domain_ratio.map((ratio, k) => [ratio, ...curves.general.map((part) => part[k]), ...curves.domain.map((part) => part[k])]);
  details.lastElementChild.replaceChildren(tableOf(columns, rows, "Losses by domain ratio (nats per token)"));
}

function show(explorer, arrays, state) {
  for (const [name] of SLIDERS) {
    const text = stopText(explorer, name, state[name]);
    document.getElementById(`${name}-text`).textContent = text;
    document.getElementById(name).setAttribute("aria-valuetext", text);
  }
  const numbers = numbersAt(explorer, arrays, state);
  const isAnswer = isNumber(numbers.recommended.domain_ratio);
  document.getElementById("live-answer").textContent = sentence(explorer, numbers, state);
  document.getElementById("live-binding").textContent = isAnswer ? `What holds it back is ${explorer.binding[Math.round(numbers.binding)]}.` : "";
  const far = explorer.extrapolated[state.model_params][state.train_tokens];
  document.getElementById("live-extrapolated").textContent = far ? `Extrapolated: ${far}.` : "";
  fillTable(numbers);
  drawLive(explorer, arrays, state, numbers);
}

async function start() {
  drawCharts();
  offerDownload();
  let redraw = drawCharts;
  if (report.explorer) {
    const explorer = report.explorer;
    const arrays = unpacked(explorer.packed.arrays, await inflated(explorer.packed.data));
    const state = { ...explorer.start };
    let isWaiting = false;
    const changed = () => {
      if (isWaiting) return;
      isWaiting = true;
      requestAnimationFrame(() => { isWaiting = false; show(explorer, arrays, state); });
    };
    makeSliders(explorer, state, changed);
    document.getElementById("live-curves").addEventListener("toggle", changed);
    show(explorer, arrays, state);
    redraw = () => { drawCharts(); changed(); };
  }
  let timer = 0, width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(redraw, 100);
  });
  document.body.dataset.ready = "yes";
}

start();
