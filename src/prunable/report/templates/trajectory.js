const BACKGROUND = 300;  // so many thin lines at most
const last = list => list.findLast(x => x != null), first = list => list.find(x => x != null);

function drawCourse(id, mean, of, title, extra) {
  const stride = Math.ceil(layers.length / BACKGROUND);
  const some = layers.filter((_, i) => i % stride === 0);
  const layer = layers[selected];
  draw(id, [
    { ...joined(some, () => data.steps, of, { name: stride > 1 ? `every ${stride}th layer` : "layers",
        line: { color: colour("--soft"), width: 1 }, opacity: .45 }),
      hoverinfo: "text+y", mode: "lines+markers", marker: { size: 3 },
      hovertext: some.flatMap(item => [...data.steps.map(() => plain(item.name)), ""]) },
    { x: data.steps, y: mean, name: "mean", mode: "lines+markers",
      line: { color: colour("--c0"), width: 4 } },
    ...(layer ? [{ x: data.steps, y: of(layer), name: short(layer.name), mode: "lines+markers",
      line: { color: colour("--c3"), width: 2, dash: "dot" }, marker: { symbol: "diamond", size: 8 },
      ...extra(layer) }] : []),
  ], { xaxis: { title: { text: "step" } }, yaxis: { title: { text: title } },
       shapes: id === "alpha-course" ? [gaussianLine("y")] : [] });
}
function drawAll() {
  drawCourse("alpha-course", data.alpha_mean, layer => layer.alpha, "alpha", layer => ({
    error_y: { array: layer.alpha_stderr.map(x => 2 * x), color: colour("--c3"), thickness: 1 } }));
  drawCourse("kappa-course", data.kappa[e] || [], layer => layer.kappa[e] || [],
    `kappa at eps ${data.eps[e] ?? ""}`, () => ({}));
}
const kept = layer => layer.kappa[e] || [];
const table = liveTable("layer-table", () => [
  { title: "layer", value: layer => layer.name, words: true },
  { title: "last verdict", value: layer => last(layer.verdict), words: true },
  { title: "alpha, first", value: layer => first(layer.alpha), show: layer => fixed(first(layer.alpha)) },
  { title: "alpha, last", value: layer => last(layer.alpha), show: layer => fixed(last(layer.alpha)) },
  { title: "kept %, first", value: layer => first(kept(layer)), show: layer => share(first(kept(layer))) },
  { title: "kept %, last", value: layer => last(kept(layer)), show: layer => share(last(kept(layer))) },
], layers, { choose: select,
  matches: layer => `${layer.name} ${last(layer.verdict)}`.toLowerCase().includes(needle()) });

function select(index) {
  selected = +index;
  $("layer-select").value = selected;
  table.mark(selected);
  drawAll();
}
$("eps").onchange = () => { e = +$("eps").value; table.redraw(); drawAll(); };
$("filter").oninput = () => table.reset();
