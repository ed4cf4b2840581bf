// --- runs behind a number ------------------------------------------------------------------
function runEntry(place, key) {
  const run = data.runs[place], known = run.kind;
  const made = element("details", { className: "run" }, element("summary", {},
    key ? `${key} · ` : "", element("code", {}, run.id),
    ...(known ? [` · ${run.kind} · `, element("span", { className: run.status === "done" ? "" : "bad" }, run.status)]
            : [" · input of another run"])));
  made.ontoggle = () => {
    made.ontoggle = null;
    if (!known) {
      made.append(element("p", {}, "Its specification is part of the runs that build on it."));
      return;
    }
    const text = JSON.stringify(run.spec, null, 2);
    const shown = element("pre", { tabIndex: 0, ariaLabel: "Specification" }, text);
    const button = element("button", { type: "button" }, "Copy specification");
    button.onclick = () => copy(text, button, shown);
    if (run.reason) made.append(element("p", { className: "bad" }, run.reason));
    made.append(shown, button);
  };
  return made;
}

const keysOf = place => new Map((data.items[place]?.runs || []).map(([key, run]) => [run, key]));

function openRuns(name, ids, place) {
  const keys = keysOf(place);
  const entries = ids.map(id => runEntry(id, keys.get(id)));
  $("dialog-title").textContent = `${name} (${ids.length === 1 ? "1 run" : `${ids.length} runs`})`;
  $("dialog-runs").replaceChildren(...entries);
  if (entries.length) entries[0].open = true;
  $("dialog").showModal();
}
// A column beside the paper's takes two places.
function headingOf(cell) {
  let right = 0;
  return all("tr:first-child th", cell.closest("table").tHead).find(head => cell.cellIndex < (right += head.colSpan)).textContent;
}
for (const button of all(".number")) button.ariaHasPopup = "dialog";
const placeOf = node => +node.closest("article").dataset.place;
document.addEventListener("click", event => {
  const button = event.target.closest(".number");
  if (button) openRuns(`${button.dataset.name ?? headingOf(button.parentElement)}: ${button.textContent}`, button.dataset.runs.split(" ").map(Number), placeOf(button));
  if (event.target === $("dialog")) $("dialog").close();  // its backdrop
});
for (const list of all("details.runs")) {
  list.ontoggle = () => {
    list.ontoggle = null;
    list.append(...data.items[placeOf(list)].runs.map(([key, run]) => runEntry(run, key)));
  };
}

// --- numbers of a figure -------------------------------------------------------------------
const number = x => x == null ? "–" : String(+x.toPrecision(4));
for (const list of all("details.values")) {
  list.ontoggle = () => {
    list.ontoggle = null;
    list.append(...data.items[placeOf(list)].views.map(valueTable));
  };
}
function valueTable(view) {
  const rows = view.series.flatMap(series => series.x.map((x, i) => {
    const error = series.high?.[i] == null || series.y[i] == null ? "" : ` ± ${number(series.high[i] - series.y[i])}`;
    const text = number(series.y[i]) + error, runs = series.runs[i] || series.runs[0] || [];
    const shown = !runs.length ? text : element("button", { className: "number", ariaHasPopup: "dialog" }, text);
    if (runs.length) {
      shown.dataset.runs = runs.join(" ");
      shown.dataset.name = series.label;
    }
    const name = series.names?.[i] ? ` (${series.names[i]})` : "";
    return element("tr", {}, element("th", { scope: "row" }, series.label),
      element("td", {}, number(x) + name), element("td", {}, shown));
  }));
  const head = ["series", view.x_label, view.y_label].map(text => element("th", { scope: "col" }, text));
  return element("div", { className: "wide", tabIndex: 0, role: "region", ariaLabel: view.title },
    element("table", {}, element("caption", {}, element("span", {}, view.title)),
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

// --- charts --------------------------------------------------------------------------------
const SYMBOLS = ["circle", "square", "triangle-up", "triangle-down", "diamond", "x", "star", "cross"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const COLOURS = 7;
const short = (s, n) => plain(s.length > n ? s.slice(0, n - 1) + "…" : s);
// The dark end of the colours cannot be seen on black.
const shadeAt = t => data.shades[Math.round((dark.matches ? .25 + .75 * t : t) * (data.shades.length - 1))];
const seriesColour = s => s.shade == null ? colour(`--c${s.look % COLOURS}`) : shadeAt(s.shade);
function traces(view, s) {
  const tint = seriesColour(s), turn = Math.floor(s.look / COLOURS), line = s.style === "line";
  const along = view.rows ? "x" : "y", ends = s.high && !line;
  const away = (to, sign) => to.map((end, i) => end == null ? NaN : sign * (end - s[along][i]));
  const shown = {
    x: s.x, y: s.y, name: plain(s.label), showlegend: s.shade == null, meta: s.runs,
    type: s.style === "bars" ? "bar" : "scatter",
    ...(s.style === "bars" ? {} : { mode: { line: "lines", "line+points": "lines+markers" }[s.style] || "markers" }),
    line: { color: tint, width: 2, dash: DASHES[turn % 4] },
    marker: { color: tint, size: 8, symbol: s.style === "published" ? "square-open" : SYMBOLS[turn % 8],
      line: { width: s.style === "published" ? 2 : 0 } },
    hoverinfo: "text", hovertext: s.x.map((x, i) => [plain(s.label),
      view.rows ? plain(view.rows[Math.floor(s.y[i])]) : `${short(view.x_label, 40) || "x"}: ${number(x)}`,
      view.rows ? number(x) : `${short(view.y_label, 40) || "y"}: ${number(s.y[i])}`,
      ...(s.names ? [plain(s.names[i])] : []),
      ...(s.high?.[i] == null ? [] : [`up to ${number(s.high[i])}, down to ${number(s.low[i])}`])].join("<br>")),
    ...(ends ? { [`error_${along}`]: { type: "data", symmetric: false, color: tint, thickness: 1.2, width: 3,
      array: away(s.high, 1), arrayminus: away(s.low, -1) } } : {}),
  };
  if (!line || !s.high) return [shown];
  const known = s.x.map((_, i) => i).filter(i => s.x[i] != null && s.high[i] != null && s.y[i] != null);
  const edge = (to, more) => ({ x: known.map(i => s.x[i]), y: known.map(i => to[i]), mode: "lines",
    line: { width: 0 }, hoverinfo: "skip", showlegend: false, ...more });
  return [edge(s.low, {}), edge(s.high, { fill: "tonexty", fillcolor: tint + "26" }), shown];
}

function colourBar([label, low, high]) {
  const steps = data.shades.map((_, i) => i / (data.shades.length - 1));
  return { x: [null], y: [null], mode: "markers", hoverinfo: "skip", showlegend: false,
    marker: { color: [low], cmin: low, cmax: high === low ? low + 1e-9 + Math.abs(low) * 1e-6 : high, showscale: true,
      colorscale: steps.map(t => [t, shadeAt(t)]),
      colorbar: { title: { text: plain(label), side: "right" }, thickness: 12, outlinewidth: 0, xpad: 4 } } };
}

function draw(host, view, smoke) {
  const narrow = host.clientWidth < NARROW;
  const axis = (label, log) => ({ title: { text: wrapped(label, narrow ? 32 : 48) }, ...(log ? { type: "log" } : {}) });
  const named = view.series.find(s => s.style === "bars" && s.names);
  const rows = view.rows && { tickvals: view.rows.map((_, i) => i),
    ticktext: view.rows.map(row => wrapped(row.slice(0, 80), narrow ? 20 : 36)), range: [view.rows.length - .4, -.6] };
  const xaxis = axis(view.x_label, view.x_log), yaxis = axis(view.y_label, view.y_log);
  if (named) Object.assign(xaxis, { tickvals: named.x, ticktext: named.names.map(name => short(name, 24)), tickangle: -45 });
  plot(host, [...view.series.flatMap(s => traces(view, s)), ...(view.bar ? [colourBar(view.bar)] : [])], {
    ...(view.rows ? { height: Math.max(260, 150 + 34 * view.rows.length) } : {}), barmode: "group",
    xaxis, yaxis: { ...yaxis, ...rows },
    annotations: smoke ? [{ text: "smoke run", xref: "paper", yref: "paper", x: .5, y: .5, showarrow: false,
      textangle: -20, opacity: .2, font: { size: 44, color: colour("--ink") } }] : [],
  });
  host.removeAllListeners("plotly_click");
  host.on("plotly_click", ({ points: [point] }) => {
    const meta = point.data.meta || [], ids = meta[point.pointIndex] || meta[0] || [];
    if (ids.length) openRuns(point.data.name.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&"),
      ids, placeOf(host));
  });
}
function drawItem(article) {
  if (!CHARTS) return;
  const item = data.items[article.dataset.place];
  all(".chart", article).forEach((host, i) => {
    draw(host, item.views[i], item.smoke);
    host.parentElement.querySelector("figcaption").textContent = item.views[i].note;
  });
}

// --- one item at a time, by the address's hash ---------------------------------------------
const articles = all("article"), index = $("all"), title = document.title;
const only = articles.length === 1 ? articles[0] : null;
let current = null, scrolled = 0, started = false;
function route() {
  let wanted = location.hash.slice(1);
  try { wanted = decodeURIComponent(wanted); } catch { /* as it is */ }
  if ($("dialog").open) $("dialog").close();
  if (!current) scrolled = started ? leaving : 0;
  current = articles.find(a => a.id === wanted) || articles.find(a => a.dataset.stem === wanted) ||
    articles.find(a => a.dataset.item === wanted) || only;
  index.hidden = !!current;
  for (const article of articles) article.hidden = article !== current;
  const heading = (current || index).querySelector("h2");
  document.title = current ? `${heading.textContent} – ${title}` : title;
  if (current) drawItem(current);
  scrollTo(0, current ? 0 : scrolled);
  if (started) heading.focus({ preventScroll: true });
  started = true;
}
// The place in the list, kept for the way back; the jump to the hash comes before the event.
let leaving = 0;
document.addEventListener("click", event => { if (event.target.closest("a")) leaving = scrollY; }, true);
addEventListener("hashchange", route);
drawnBy(() => current && drawItem(current));

// --- filter --------------------------------------------------------------------------------
const cards = all(".card");
function filter() {
  const text = $("text").value.trim().toLowerCase(), verdict = $("verdict").value, paper = $("paper").value;
  for (const card of cards) {
    card.hidden = (verdict && card.dataset.verdict !== verdict) || (paper && card.dataset.paper !== paper) ||
      !`${card.textContent} ${card.closest("section").firstElementChild.textContent}`.toLowerCase().includes(text);
  }
  for (const group of all(".paper-group")) group.hidden = !all(".card:not([hidden])", group).length;
  $("count").textContent = `${cards.filter(card => !card.hidden).length} of ${cards.length} items`;
}
$("filters").oninput = filter;
$("filters").onsubmit = event => event.preventDefault();
filter();  // a browser may bring back what was typed
route();
