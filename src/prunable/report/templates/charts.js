// --- charts --------------------------------------------------------------------------------
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const NARROW = 480;  // pixels of a chart
const COARSE = matchMedia("(pointer: coarse)").matches;
// Numbers and the library lie in the page, packed by gzip.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
const data = JSON.parse(await unpacked("data"));
if ($("library")) document.head.append(element("script", { textContent: await unpacked("library") }));
const CHARTS = typeof Plotly !== "undefined";
// Charts read some HTML in their labels, so names are spelled without any.
const plain = s => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const wrapped = (s, n) => (s.match(new RegExp(`.{1,${n}}(?: |$)|\\S{1,${n}}`, "g")) || []).map(plain).join("<br>");
// Named buttons only: by default plotly also offers to upload the chart.
const CONFIG = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

// Few labels on a logarithmic axis: powers of ten on a long one, 1, 2 and 5 between on a shorter one.
function logAxis(values, narrow) {
  const seen = values.filter(x => x > 0), decades = Math.log10(Math.max(...seen) / Math.min(...seen));
  const labels = decades < 1 ? { nticks: narrow ? 3 : 4 }
    : decades < 2.3 ? { nticks: Math.ceil(decades / .5), tickformat: "~g" }
    : { nticks: Math.min(narrow ? 4 : 6, Math.floor(decades / .75)) };
  return { type: "log", exponentformat: "power", ...labels };
}

function plot(host, traces, layout) {
  const ink = colour("--ink"), line = colour("--line"), narrow = host.clientWidth < NARROW;
  // a legend that stands in one column takes its room below, not from the chart
  const names = traces.filter(t => t.name && t.showlegend !== false).length;
  const height = (layout.height ?? (narrow ? 460 : 380)) + (narrow ? 19 * Math.max(0, names - 4) : 0);
  const axis = (letter, given = {}) => ({ gridcolor: line, linecolor: line, zeroline: false, automargin: true,
    ...(given.type === "log" ? logAxis(given.range?.map(end => 10 ** end) ?? traces.flatMap(t => t[letter] || []), narrow) : {}), ...given });
  Plotly.react(host, traces, {
    width: host.clientWidth, margin: { l: 50, r: 12, t: 28, b: 55 },
    dragmode: COARSE ? false : "zoom", hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } },
    modebar: { color: colour("--soft"), activecolor: colour("--accent"), bgcolor: "rgba(0,0,0,0)" },
    legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", traceorder: "normal" },
    ...layout, height, xaxis: axis("x", layout.xaxis), yaxis: axis("y", layout.yaxis),
  }, CONFIG);
}

// Charts follow the scheme, the width of the window, and what they are printed on.
function drawnBy(redraw) {
  if (!CHARTS) return;
  let width = innerWidth, waiting = 0;
  dark.addEventListener("change", redraw);
  addEventListener("resize", () => {  // not for a phone's address bar that comes and goes
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (innerWidth !== width) { width = innerWidth; redraw(); } }, 100);
  });
  const print = on => () => { document.documentElement.classList.toggle("printed", on); redraw(); };
  addEventListener("beforeprint", print(true));
  addEventListener("afterprint", print(false));
}
