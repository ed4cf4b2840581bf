// --- words and numbers -------------------------------------------------------------------
const MISSING = "–";
const fixed = (x, digits = 2) => x == null ? MISSING : x.toFixed(digits);
const number = x => x == null ? MISSING : String(+x.toPrecision(3));
const signed = x => x == null ? MISSING : (x > 0 ? "+" : "") + x.toFixed(2);
const share = x => x == null ? MISSING : (100 * x).toPrecision(3);
const withError = (x, error) => fixed(x) + (x == null || error == null ? "" : ` ± ${fixed(error)}`);
const count = n => n.toLocaleString("en");
const short = s => plain(s.length > 20 ? `${s.slice(0, 7)}…${s.slice(-12)}` : s);
const options = (select, labels, values = labels) =>
  select.append(...labels.map((label, i) => new Option(label, values[i])));
// A name that gives way in its middle: its end tells layers apart.
const nameCell = s => element("span", { className: "name", title: s },
  ...[s.slice(0, -14), s.slice(-14)].filter(part => part).map(part => element("span", {}, part)));

// --- tables ------------------------------------------------------------------------------
const PAGE = 200;

// A table of rows {index, name, ...}: sorted by its headings, filtered, some rows at a time.
// A column has a title, a value to sort by, optionally the text or node to show, and is spared
// where the screen is narrow if what it says stands elsewhere too.
const classOf = column => `${column.words ? "words" : ""} ${column.spare ? "spare" : ""}`;
function liveTable(id, columns, rows, { choose, matches = () => true } = {}) {
  let by = null, down = false, limit = PAGE, shown = [], current = null;
  const body = element("tbody"), heads = columns().map((column, i) => {
    const button = element("button", { type: "button" });
    button.onclick = () => { down = by === i && !down; by = i; redraw(); };
    return element("th", { scope: "col", className: classOf(column) }, button);
  });
  $(id).append(element("thead", {}, element("tr", {}, ...heads)), body);
  const upTo = more => () => { limit = more(); redraw(); };
  $(id + "-more").onclick = upTo(() => limit + PAGE);
  addEventListener("beforeprint", upTo(() => Infinity));
  addEventListener("afterprint", upTo(() => PAGE));

  function line(row) {
    const [, ...cells] = columns().map(column => element("td", { className: classOf(column) },
      (column.show || column.value)(row) ?? MISSING));
    const name = choose ? element("button", { type: "button" }, nameCell(row.name)) : nameCell(row.name);
    const made = element("tr", {}, element("th", { scope: "row" }, name), ...cells);
    made.dataset.index = row.index;
    if (choose) { made.className = "pick"; made.onclick = () => choose(row.index, true); }
    return made;
  }
  function redraw() {
    shown = rows.filter(matches);
    if (by != null) {
      const value = columns()[by].value;
      const order = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b;
      shown.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x == null || y == null) return (x == null) - (y == null);  // missing numbers last
        return (down ? -1 : 1) * order(x, y);
      });
    }
    heads.forEach((cell, i) => {
      cell.firstChild.textContent = columns()[i].title;
      cell.ariaSort = i !== by ? "none" : down ? "descending" : "ascending";
    });
    body.replaceChildren(...shown.slice(0, limit).map(line));
    $(id + "-more").hidden = shown.length <= limit;
    $(id + "-count").textContent = `${count(Math.min(limit, shown.length))} of ` +
      `${count(shown.length)} matching layers shown, ${count(rows.length)} in all`;
    mark(current);
  }
  function mark(index) {
    current = index;
    for (const row of body.rows) row.ariaCurrent = +row.dataset.index === index ? "true" : null;
  }
  return { redraw, mark, shown: () => shown, reset: upTo(() => PAGE) };
}

// --- the page ----------------------------------------------------------------------------
const known = items => items.filter(item => item.alpha != null);
// One line per item, as a single trace: quick even for thousands of items.
function joined(items, xs, ys, props) {
  const trace = { x: [], y: [], hoverinfo: "skip", mode: "lines", ...props };
  for (const item of items) {
    trace.x.push(...xs(item), null);
    trace.y.push(...ys(item), null);
  }
  return trace;
}
const gaussianLine = axis => ({ type: "line", layer: "below",
  line: { color: colour("--soft"), dash: "dash", width: 1 },
  ...(axis === "x" ? { x0: 2, x1: 2, yref: "paper", y0: 0, y1: 1 }
                   : { y0: 2, y1: 2, xref: "paper", x0: 0, x1: 1 }) });
const vertical = (x, props) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, ...props });

function draw(id, traces, layout) {
  const host = $(id), empty = !CHARTS || !traces.some(trace => (trace.y || []).some(y => y != null));
  host.classList.toggle("empty", empty);
  if (!empty) {
    if (!host.data) host.replaceChildren();
    return plot(host, traces, layout);
  }
  if (CHARTS) Plotly.purge(host);
  host.textContent = CHARTS ? "not available" : "needs plotly.min.js, which lies beside the page where it was made";
}

const layers = data.layers;
layers.forEach((layer, index) => { layer.index = index; });
let selected = 0, e = data.middle;
const needle = () => $("filter").value.trim().toLowerCase();
options($("layer-select"), layers.map(layer => layer.name), layers.map((_, i) => i));
options($("eps"), data.eps, data.eps.map((_, i) => i));
$("eps").value = e;
const steady = matchMedia("(prefers-reduced-motion: reduce)").matches;
