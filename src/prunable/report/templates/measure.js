const GRANULARITIES = Object.keys(data.granularities);
const LOOK = {
  weight: { colour: "--c2", dash: "solid", symbol: "circle" },
  node: { colour: "--c3", dash: "dash", symbol: "square" },
  unit: { colour: "--c4", dash: "dashdot", symbol: "diamond" },
  kernel: { colour: "--c5", dash: "longdash", symbol: "triangle-up" },
  singular_value: { colour: "--c6", dash: "longdashdot", symbol: "x" },
};
const VERDICTS = {
  "stable": ["--c2", "circle"], "gaussian-like": ["--c0", "square"],
  "heavy but not stable": ["--c3", "diamond"], "light-tailed": ["--c4", "triangle-down"],
  "inconclusive": ["--c6", "x"], "too few": ["--soft", "cross"],
};
const look = verdict => VERDICTS[verdict] || ["--c5", "star"];
const badge = verdict => {
  const made = element("span", { className: "badge" }, verdict);
  made.style.setProperty("--tone", `var(${look(verdict)[0]})`);
  return made;
};
const kept = (layer, granularity) => (layer.kappa[granularity] || [])[e];
const present = GRANULARITIES.filter(name => layers.some(layer => layer.kappa[name]));
options($("verdict"), [...new Set(layers.map(layer => layer.verdict))]);

function layerAxis(shown) {
  const few = shown.length <= ($("alpha-overview").clientWidth < NARROW ? 10 : 24);
  return { title: { text: few ? "" : "layer, in the network's order" },
    range: [shown[0]?.index - .6, shown.at(-1)?.index + .6],
    ...(few ? { tickvals: shown.map(layer => layer.index), ticktext: shown.map(layer => short(layer.name)),
                tickangle: -45 } : {}) };
}
const selectionLine = () => vertical(selected, { layer: "below",
  line: { color: colour("--accent"), width: 6 }, opacity: .25 });

// The layers that pass the table's filters.
function drawOverview() {
  const shown = [...table.shown()].sort((a, b) => a.index - b.index);
  const estimated = known(shown), many = shown.length > 500;
  const verdicts = [...new Set(estimated.map(layer => layer.verdict))];
  draw("alpha-overview", [
    joined(estimated.filter(layer => layer.alpha_stderr != null), layer => [layer.index, layer.index],
      layer => [layer.alpha - 2 * layer.alpha_stderr, layer.alpha + 2 * layer.alpha_stderr],
      { showlegend: false, line: { color: colour("--soft"), width: 1 }, opacity: many ? .3 : 1 }),
    ...verdicts.map(verdict => {
      const group = estimated.filter(layer => layer.verdict === verdict);
      return { x: group.map(layer => layer.index), y: group.map(layer => layer.alpha), name: plain(verdict),
        mode: "markers", marker: { color: colour(look(verdict)[0]), symbol: look(verdict)[1], size: many ? 4 : 8 },
        hoverinfo: "text", hovertext: group.map(layer =>
          `${plain(layer.name)}<br>alpha ${withError(layer.alpha, layer.alpha_stderr)}`) };
    }),
  ], { xaxis: layerAxis(shown), yaxis: { title: { text: "alpha" } },
       shapes: [gaussianLine("y"), selectionLine()] });
  // thousands of marks a kind are slow and cover each other; a line shows the same
  const mode = shown.length > 2000 ? "lines" : "lines+markers";
  draw("kappa-overview", present.map(name => ({
    x: shown.map(layer => layer.index), y: shown.map(layer => kept(layer, name) ?? null), mode,
    name: data.granularities[name], line: { color: colour(LOOK[name].colour), width: 1, dash: LOOK[name].dash },
    marker: { symbol: LOOK[name].symbol, size: 7 }, hoverinfo: "text",
    hovertext: shown.map(layer => `${plain(layer.name)}<br>${data.granularities[name]} ${share(kept(layer, name))} %`),
  })), { xaxis: layerAxis(shown), yaxis: { title: { text: `kappa at eps ${data.eps[e]}` }, rangemode: "tozero" },
         shapes: [selectionLine()] });
  for (const id of ["alpha-overview", "kappa-overview"]) {
    if ($(id).on) { $(id).removeAllListeners("plotly_click");
      $(id).on("plotly_click", event => select(event.points[0].x)); }
  }
}

const lineOf = (x, y, name, props) => y ? [{ x, y, name, mode: "lines", ...props }] : [];
function drawLayer() {
  const layer = layers[selected];
  const soft = colour("--soft"), sky = colour("--c1");
  const c = layer.curves || { eps: [] };
  const band = { fill: "tonexty", fillcolor: sky + "40" };
  const noLine = { line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  draw("curves", [
    ...lineOf(c.eps, c.stable_high && c.stable_low, "low", noLine),
    ...lineOf(c.eps, c.stable_low && c.stable_high, "high", { ...noLine, ...band }),
    ...lineOf(c.eps, c.stable_median, "stable law", { line: { color: sky, width: 3 } }),
    ...lineOf(c.eps, c.gaussian, "Gaussian law", { line: { color: soft, dash: "dot" } }),
    ...GRANULARITIES.flatMap(name => lineOf(c.eps, c[name], data.granularities[name],
      { line: { color: colour(LOOK[name].colour), dash: LOOK[name].dash } })),
  ], { xaxis: { type: "log", title: { text: "eps" } }, yaxis: { title: { text: "kappa" }, range: [0, 1.03] } });

  const t = layer.tail_plot || { x: [] };
  draw("tail", [
    ...lineOf(t.x, t.survival, "weights", { mode: "markers", marker: { color: colour("--c2"), size: 5 } }),
    ...lineOf(t.x, t.stable, "stable law", { line: { color: sky, width: 3 } }),
    ...lineOf(t.x, t.gaussian, "Gaussian law", { line: { color: soft, dash: "dot" } }),
  ], { xaxis: { type: "log", title: { text: "x" } },
       yaxis: { type: "log", title: { text: "P(|weight| > x)" }, ...tailRange(t.survival) } });

  const methods = Object.entries(layer.estimators);
  const points = methods.map(([method, found], place) => ({ method, place, ...found }));
  const named = point => (data.methods[point.method] || plain(point.method)) +
    (point.status === "ok" ? "" : ` (${plain(point.status.replaceAll("_", " "))})`);
  const found = known(points);
  draw("estimators", found.length ? [{
    x: found.map(point => point.alpha), y: found.map(point => point.place), mode: "markers",
    error_x: { array: found.map(point => point.stderr == null ? null : 2 * point.stderr), color: soft, thickness: 1.5 },
    marker: { size: 10, color: colour("--c2"),
      symbol: found.map(point => point.status === "ok" ? "circle" : "circle-open") },
    hoverinfo: "text", hovertext: found.map(point =>
      `${named(point)}<br>${withError(point.alpha, point.stderr)}<br>n = ${count(point.n)}`),
  }] : [], { height: 120 + 28 * Math.max(points.length, 8),
    xaxis: { title: { text: "alpha" } },
    yaxis: { tickvals: points.map(point => point.place), ticktext: points.map(named),
             range: [points.length - .4, -.6] },
    shapes: [gaussianLine("x"), ...(layer.alpha == null ? []
      : [vertical(layer.alpha, { layer: "below", line: { color: soft, dash: "dot", width: 1 } })])] });

  const h = layer.hill_plot || { k: [] };
  draw("hill", lineOf(h.k, h.alpha, "Hill", { line: { color: colour("--c2") } }),
    { xaxis: { type: "log", title: { text: "largest weights used, k" } },
      yaxis: { title: { text: "alpha" } },
      shapes: [gaussianLine("y"), ...(h.plateau ? [{ type: "rect", layer: "below", x0: h.plateau[0],
        x1: h.plateau[1], yref: "paper", y0: 0, y1: 1, fillcolor: sky, opacity: .25,
        line: { width: 0 } }] : [])] });
}
// A fitted light tail falls out of sight; the picture is that of the weights.
function tailRange(survival) {
  const seen = (survival || []).filter(y => y > 0);
  return seen.length ? { range: [Math.log10(Math.min(...seen)) - .5, .2] } : {};
}

const sentence = parts => parts.filter(part => part).join(", ");
const pValue = found => found.p_value == null ? "" : `p-value ${number(found.p_value)}`;
const fit = found => sentence([found.alpha == null ? "" : `alpha ${fixed(found.alpha)}`,
  `scale ${number(found.scale)}`, `Kolmogorov-Smirnov ${number(found.ks)}`,
  `Anderson-Darling ${number(found.anderson_darling)}`, pValue(found), `n ${count(found.n)}`]);
function facts(layer) {
  const d = layer.dependence, s = layer.spectrum;
  const group = found => sentence([`intraclass correlation ${number(found.intraclass_correlation)}`,
    `F ${number(found.f)}`, pValue(found)]);
  return [
    ["tensor", `${layer.kind}, ${layer.role}, ${layer.dtype}, ${layer.shape.join(" × ")}, ` +
      `${count(layer.n)} weights, ${share(layer.zeros_share)} % zeros`],
    ["alpha", withError(layer.alpha, layer.alpha_stderr)],
    ["stable fit", layer.stable_fit && fit(layer.stable_fit)],
    ["Gaussian fit", layer.gaussian_fit && fit(layer.gaussian_fit)],
    ["extreme value index", layer.tail && `${withError(layer.tail.extreme_value_index, layer.tail.stderr)}, ` +
      `from the ${layer.tail.k == null ? "" : count(layer.tail.k)} largest`],
    ["dependence", d && d.regime],
    ["within rows", d && d.rows && group(d.rows)],
    ["within columns", d && d.columns && group(d.columns)],
    ...Object.entries(d && d.splits || {}).map(([name, found]) =>
      [`halves, ${name}`, found && sentence([`Kolmogorov-Smirnov ${number(found.ks)}`, pValue(found)])]),
    ["spectral_alpha", s && sentence([withError(s.spectral_alpha, s.stderr),
      s.expected_if_iid == null ? "" : `${fixed(s.expected_if_iid)} expected of independent entries`,
      s.ks == null ? "" : `Kolmogorov-Smirnov ${number(s.ks)}`,
      s.n_tail == null ? "" : `${count(s.n_tail)} eigenvalues`, s.status.replaceAll("_", " ")])],
  ];
}
function describeLayer() {
  const layer = layers[selected];
  $("layer-name").textContent = layer.name;
  $("layer-reason").replaceChildren(badge(layer.verdict), " ", layer.reason);
  $("facts").replaceChildren(...facts(layer).flatMap(([term, text]) =>
    [element("dt", {}, term), element("dd", {}, text || "not available")]));
  const rows = [
    ...GRANULARITIES.filter(name => layer.kappa[name])
      .map(name => [data.granularities[name], layer.kappa[name]]),
    ...Object.entries(layer.allocation || {}).map(([rule, values]) => [data.rules[rule], values]),
  ];
  const table = $("kept-table");
  table.replaceChildren(table.caption,
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "kept"),
      ...data.eps.map(eps => element("th", { scope: "col" }, `eps ${eps}`)))),
    element("tbody", {}, ...rows.map(([name, values]) => element("tr", {},
      element("th", { scope: "row" }, name),
      ...values.map(value => element("td", {}, share(value)))))));
}

const columns = () => [
  { title: "layer", value: layer => layer.name, words: true },
  { title: "verdict", value: layer => layer.verdict, show: layer => badge(layer.verdict), words: true },
  { title: "alpha", value: layer => layer.alpha, show: layer => element("span", {}, fixed(layer.alpha), element("span", { className: "spare" },
      withError(layer.alpha, layer.alpha_stderr).slice(fixed(layer.alpha).length))) },
  ...present.map(name => ({ title: `${data.granularities[name]} %`,
    value: layer => kept(layer, name), show: layer => share(kept(layer, name)) })),
  { title: "n", value: layer => layer.n, show: layer => count(layer.n), spare: true },
  { title: "kind", value: layer => layer.kind, words: true, spare: true },
  { title: "shape", value: layer => layer.n, show: layer => layer.shape.join(" × "), words: true, spare: true },
  { title: "zeros %", value: layer => layer.zeros_share, show: layer => share(layer.zeros_share), spare: true },
  { title: "depends", value: layer => layer.dependence?.regime, words: true, spare: true,
    show: layer => layer.dependence?.regime.replace("dependent in ", "").replace("independent", "no").replace(" and ", ", ") },
  { title: "spectral_alpha", value: layer => layer.spectrum?.spectral_alpha, spare: true,
    show: layer => withError(layer.spectrum?.spectral_alpha, layer.spectrum?.stderr) },
];
const table = liveTable("layer-table", columns, layers, { choose: select, matches: layer =>
  (!$("verdict").value || layer.verdict === $("verdict").value) &&
  `${layer.name} ${layer.kind} ${layer.verdict}`.toLowerCase().includes(needle()) });
let waiting = 0;
function refilter() {
  table.reset();
  clearTimeout(waiting);
  waiting = setTimeout(drawOverview, 200);
}
$("verdict").onchange = refilter;
$("filter").oninput = refilter;

function select(index, show = false) {
  selected = +index;
  $("layer-select").value = selected;
  table.mark(selected);
  describeLayer();
  drawLayer();
  for (const id of ["alpha-overview", "kappa-overview"]) {
    const shapes = $(id).layout?.shapes;
    if (shapes) Plotly.relayout($(id), { shapes: [...shapes.slice(0, -1), selectionLine()] });
  }
  if (show) $("one").scrollIntoView({ behavior: steady ? "auto" : "smooth" });
}
// The neighbour in the table's order.
function step(by) {
  const order = table.shown(), place = order.findIndex(layer => layer.index === selected);
  if (order.length) select(order[(place + by + order.length) % order.length].index);
}
$("previous").onclick = () => step(-1);
$("next").onclick = () => step(1);
$("eps").onchange = () => {
  e = +$("eps").value;
  table.redraw();
  if (pairs) pairTable.redraw();
  drawOverview();
};

const pairs = data.comparison && data.comparison.layers;
const pairTable = pairs && liveTable("comparison-table", () => [
  { title: "layer", value: pair => pair.name, words: true },
  ...["A", "B"].map((which, i) => ({ title: `alpha ${which}`, value: pair => pair.alpha[i],
    show: pair => fixed(pair.alpha[i]) })),
  { title: "difference", value: pair => pair.alpha_difference, show: pair => signed(pair.alpha_difference) +
    (pair.alpha_difference == null || pair.stderr == null ? "" : ` ± ${fixed(pair.stderr)}`) },
  { title: "z", value: pair => pair.z, show: pair => signed(pair.z) },
  ...["A", "B"].map((which, i) => ({ title: `verdict ${which}`, value: pair => pair.verdict[i],
    show: pair => badge(pair.verdict[i]), words: true })),
  ...["A", "B"].map((which, i) => ({ title: `weights % ${which}`,
    value: pair => pair.kappa_weight[e]?.[i], show: pair => share(pair.kappa_weight[e]?.[i]) })),
], pairs.map((pair, index) => ({ ...pair, index })));
const DUMBBELLS = 40;  // the largest differences; the table has all

function drawComparison() {
  const both = pairs.filter(pair => pair.alpha[0] != null && pair.alpha[1] != null);
  const size = pair => Math.abs(pair.alpha[0] - pair.alpha[1]);
  const most = [...both].sort((a, b) => size(b) - size(a)).slice(0, DUMBBELLS)
    .map((pair, place) => ({ ...pair, place }));
  const ends = (i, name, look) => ({ x: most.map(pair => pair.alpha[i]), y: most.map(pair => pair.place),
    name, mode: "markers", marker: { size: 11, ...look }, hoverinfo: "text",
    hovertext: most.map(pair => `${plain(pair.name)}<br>${name}: ${fixed(pair.alpha[i])}`) });
  draw("dumbbells", [
    joined(most, pair => pair.alpha, pair => [pair.place, pair.place],
      { showlegend: false, line: { color: colour("--soft"), width: 2 } }),
    ends(0, "A", { color: colour("--c2") }),
    ends(1, "B", { color: colour("--c3"), symbol: "diamond-open", line: { width: 2 } }),
  ], { height: 140 + 24 * most.length, xaxis: { title: { text: "alpha" } },
       yaxis: { tickvals: most.map(pair => pair.place), ticktext: most.map(pair => short(pair.name)),
                range: [most.length - .4, -.6] },
       shapes: [gaussianLine("x")] });
  $("dumbbells-text").textContent = both.length > DUMBBELLS
    ? `The ${DUMBBELLS} layers of ${count(both.length)} that differ most.`
    : "Layers in the order of their difference.";
}
function drawAll() {
  if (!layers.length) return;
  drawOverview();
  drawLayer();
  if (pairs) drawComparison();
}
if (pairs) pairTable.redraw();
if (layers.length) describeLayer();
