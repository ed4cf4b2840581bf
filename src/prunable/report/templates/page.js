"use strict";
const $ = id => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const element = (tag, props, ...children) => {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
};
const data = JSON.parse($("data")?.textContent ?? "null");

// --- copying -------------------------------------------------------------------------------
async function copy(text, button, shown) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // not allowed from a file in some browsers
    getSelection().selectAllChildren(shown);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
}
for (const button of all(".command button")) {
  const code = button.previousElementSibling;
  button.onclick = () => copy(code.textContent, button, code);
}

// --- charts --------------------------------------------------------------------------------
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const NARROW = 480;  // pixels of a chart
const COARSE = matchMedia("(pointer: coarse)").matches;
const CHARTS = typeof Plotly !== "undefined";
// Charts read some HTML in their labels, so names are spelled without any.
const plain = s => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const wrapped = (s, n) => (s.match(new RegExp(`.{1,${n}}(?: |$)|\\S{1,${n}}`, "g")) || []).map(plain).join("<br>");
// Named buttons only: by default plotly also offers to upload the chart.
const CONFIG = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

// Few labels on a logarithmic axis, powers of ten unless it is shorter than one.
function logAxis(values, narrow) {
  const seen = values.filter(x => x > 0), decades = Math.log10(Math.max(...seen) / Math.min(...seen));
  return { type: "log", exponentformat: "power",
    nticks: decades < 1 ? (narrow ? 3 : 4) : Math.max(1, Math.min(narrow ? 4 : 6, Math.floor(decades / .75))) };
}

function plot(host, traces, layout) {
  const ink = colour("--ink"), line = colour("--line"), narrow = host.clientWidth < NARROW;
  const axis = (letter, given = {}) => ({ gridcolor: line, linecolor: line, zeroline: false, automargin: true,
    ...(given.type === "log" ? logAxis(traces.flatMap(t => t[letter] || []), narrow) : {}), ...given });
  Plotly.react(host, traces, {
    width: host.clientWidth, height: narrow ? 460 : 380, margin: { l: 50, r: 12, t: 28, b: 55 },
    dragmode: COARSE ? false : "zoom", hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } },
    modebar: { color: colour("--soft"), activecolor: colour("--accent"), bgcolor: "rgba(0,0,0,0)" },
    legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", traceorder: "normal" },
    ...layout, xaxis: axis("x", layout.xaxis), yaxis: axis("y", layout.yaxis),
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
