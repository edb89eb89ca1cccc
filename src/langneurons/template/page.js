const data = JSON.parse(document.getElementById("data").textContent);
const neurons = data.neurons, total = neurons.layer.length;
const $ = (selector, root = document) => root.querySelector(selector);
const dark = matchMedia("(prefers-color-scheme: dark)"), print = matchMedia("print");
const PAGE = 25;
const escaped = (value) => String(value).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/* Theme: the paper's colours by day, brighter ones on a dark ground. */
function theme(width) {
  const config = structuredClone(data.light);
  if (width < 480) config.axisXDiscrete = { labelAngle: -45 };
  config.background = "transparent";
  if (!dark.matches || print.matches) return config;
  const ink = "#d9d7d0", line = "#3a3d42";
  Object.assign(config.axis, { gridColor: line, domainColor: "#7d7f83", tickColor: "#7d7f83", labelColor: ink, titleColor: ink });
  Object.assign(config.legend, { labelColor: ink, titleColor: ink });
  config.title.color = config.text.color = config.rule.color = ink;
  config.range = { category: ["#f08a5d", "#6aaee6", "#4cc29f", "#9a9a96"] };
  return config;
}

function fitted(spec, width) {
  const copy = structuredClone(spec);
  if (copy.hconcat && width < 560) { /* side by side there is no room */
    copy.vconcat = copy.hconcat;
    delete copy.hconcat;
  }
  if (copy.hconcat) for (const view of copy.hconcat) view.width = (width - 24 * (copy.hconcat.length - 1)) / copy.hconcat.length;
  else for (const view of copy.vconcat || [copy]) view.width = Math.max(120, width);
  return copy;
}

const drawn = new Map();
async function draw(box, figure, spec = figure.spec) {
  const width = box.clientWidth - 24;
  const margin = figure.name.startsWith("card-") ? 85 : 62;
  const options = { renderer: "svg", actions: false, config: theme(width), tooltip: { theme: dark.matches ? "dark" : "light" } };
  const result = await vegaEmbed(box, fitted(spec, width - margin), options);
  drawn.get(box)?.finalize();
  drawn.set(box, result);
}

/* Downloads. */
function save(name, content) {
  const link = document.createElement("a");
  link.href = content instanceof Blob ? URL.createObjectURL(content) : content;
  link.download = name;
  link.click();
  if (content instanceof Blob) setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
const text = (name, content, type) => save(name, new Blob([content], { type }));

async function image(name, spec, format) {
  const box = document.createElement("div");
  const { view } = await vegaEmbed(box, spec, { renderer: "none", actions: false, config: data.light });
  if (format === "svg") text(`${name}.svg`, await view.toSVG(), "image/svg+xml");
  else save(`${name}.png`, await view.toImageURL("png", 3));
  view.finalize();
}

const quote = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
const csv = (columns, rows) => [columns, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
const tex = (cell) => String(cell ?? "").replace(/[&%$#_{}]/g, "\\$&");
function latex(columns, rows, caption) {
  const body = rows.map((row) => `    ${row.map(tex).join(" & ")} \\\\`).join("\n");
  const head = columns.map(tex).join(" & ");
  return `\\begin{table}\n  \\centering\n  \\caption{${tex(caption)}}\n  \\begin{tabular}{${"l".repeat(columns.length)}}\n    \\toprule\n    ${head} \\\\\n    \\midrule\n${body}\n    \\bottomrule\n  \\end{tabular}\n\\end{table}\n`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-download]");
  if (!button) return;
  const { download: name, format } = button.dataset;
  if (name === "explorer") return downloadRows(format);
  if (name === "card") return downloadCard(format);
  const item = [...data.figures, ...data.tables].find((x) => x.name === name);
  if (format === "csv") text(`${name}.csv`, item.csv, "text/csv");
  else if (format === "latex") text(`${name}.tex`, item.latex, "text/plain");
  else image(name, item.spec, format);
});

/* The explorer. */
const codes = data.languages.map((language) => language.code);
const columns = [
  { key: "layer", label: "Layer", number: true, of: (i) => neurons.layer[i] },
  neurons.expert && { key: "expert", label: "Expert", number: true, of: (i) => (neurons.expert[i] < 0 ? null : neurons.expert[i]) },
  { key: "neuron", label: "Neuron", number: true, of: (i) => neurons.neuron[i] },
  { key: "kind", label: "Kind", of: (i) => neurons.kind[i] },
  { key: "n", label: "N", number: true, of: (i) => neurons.member[i].length },
  { key: "languages", label: "Languages", of: (i) => neurons.member[i].map((k) => codes[k]).join(" ") },
  neurons.score && { key: "score", label: "Score", number: true, of: (i) => neurons.score[i] },
  neurons.margin && { key: "margin", label: "Margin", number: true, of: (i) => neurons.margin[i] },
  neurons.keeps && { key: "keeps", label: "Keeps", number: true, of: (i) => neurons.keeps[i] },
].filter(Boolean);
const form = document.getElementById("filters");
const state = { rows: [], page: 0, sort: "layer", up: true, chosen: null };
const digits = { score: 4, margin: 4, keeps: 2 };
const shown = (column, i) => {
  const value = column.of(i);
  return value == null ? "" : digits[column.key] ? value.toFixed(digits[column.key]) : String(value);
};

function filterRows() {
  const f = Object.fromEntries(new FormData(form));
  const k = f.language === "" ? null : codes.indexOf(f.language);
  const first = f.first === "" ? -Infinity : +f.first, last = f.last === "" ? Infinity : +f.last;
  const wanted = f.neuron.trim();
  const column = columns.find((c) => c.key === state.sort), sign = state.up ? 1 : -1;
  state.rows = [];
  for (let i = 0; i < total; i++) {
    if (k !== null && !neurons.member[i].includes(k)) continue;
    if (f.kind && neurons.kind[i] !== f.kind) continue;
    if (neurons.layer[i] < first || neurons.layer[i] > last) continue;
    if (wanted && String(neurons.neuron[i]) !== wanted) continue;
    state.rows.push(i);
  }
  const values = new Map(state.rows.map((i) => [i, column.of(i)]));
  state.rows.sort((a, b) => {
    const x = values.get(a), y = values.get(b);
    if (x === y) return a - b;
    if (x == null || y == null) return x == null ? 1 : -1;
    return sign * (x < y ? -1 : 1);
  });
  state.page = 0;
  showRows();
}

function showRows() {
  const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
  $("#neurons thead").innerHTML = `<tr>${columns.map((c) => {
    const sort = c.key === state.sort ? (state.up ? "ascending" : "descending") : "none";
    return `<th scope="col" aria-sort="${sort}" class="${c.number ? "number" : ""}"><button type="button" data-sort="${c.key}">${c.label}</button></th>`;
  }).join("")}</tr>`;
  $("#neurons tbody").innerHTML = state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((i) => {
    const cells = columns.map((c) => c.key === "kind"
      ? `<td><span class="kind ${neurons.kind[i]}">${neurons.kind[i]}</span></td>`
      : `<td class="${c.number ? "number" : c.key}">${escaped(shown(c, i))}</td>`);
    return `<tr tabindex="0" data-row="${i}" aria-selected="${i === state.chosen}">${cells.join("")}</tr>`;
  }).join("");
  $("#position").textContent = `page ${state.page + 1} of ${pages}`;
  $("#previous").disabled = state.page === 0;
  $("#next").disabled = state.page >= pages - 1;
  $("#found").textContent = `${state.rows.length.toLocaleString("en")} of ${total.toLocaleString("en")} neurons`;
}

function downloadRows(format) {
  const p = neurons.p ? codes.map((code) => `p_${code}`) : [];
  const head = [...columns.map((c) => c.key), ...p];
  const rows = state.rows.map((i) => [...columns.map((c) => c.of(i)), ...(neurons.p ? neurons.p[i].map((x) => x / 1e5) : [])]);
  if (format === "csv") text("neurons.csv", csv(head, rows), "text/csv");
  else text("neurons.tex", latex(columns.map((c) => c.label), state.rows.map((i) => columns.map((c) => shown(c, i))), "Neurons"), "text/plain");
}

/* The card of one neuron: the figure of the same name with this neuron's values in it. */
const cardFigure = data.figures.find((figure) => figure.name.startsWith("card-"));
const address = (i) => [neurons.layer[i], ...(neurons.expert && neurons.expert[i] >= 0 ? [neurons.expert[i]] : []), neurons.neuron[i]];
const cardRows = (i) => data.languages.map((language, k) => ({
  language: language.name, probability: neurons.p[i][k] / 1e5, active: neurons.member[i].includes(k) ? "above tau" : "not above tau",
}));

function cardSpec(i) {
  const spec = structuredClone(cardFigure.spec);
  for (const layer of spec.layer) if (layer.data?.name === "card") layer.data.values = cardRows(i);
  return spec;
}

async function showCard(i) {
  state.chosen = i;
  for (const row of document.querySelectorAll("#neurons tbody tr")) row.setAttribute("aria-selected", +row.dataset.row === i);
  const facts = [
    ["kind", neurons.kind[i] + (neurons.selected[i] ? "" : ", not among the selected")],
    ["highly active in", neurons.member[i].map((k) => data.languages[k].name).join(", ") || "no language"],
    neurons.score && ["score", neurons.score[i].toFixed(6)],
    neurons.margin && ["margin", `${neurons.margin[i].toFixed(6)} ${neurons.margin[i] < 0 ? "outside" : "inside"} the selection`],
    neurons.keeps && neurons.keeps[i] != null && ["keeps its class", `in ${(100 * neurons.keeps[i]).toFixed(0)}% of the resamplings`],
  ].filter(Boolean);
  const where = address(i);
  const name = where.length === 3 ? `Layer ${where[0]}, expert ${where[1]}, neuron ${where[2]}` : `Layer ${where[0]}, neuron ${where[1]}`;
  const formats = neurons.p && cardFigure ? ["svg", "png", "csv", "latex"] : [];
  const labels = { svg: "SVG", png: "PNG", csv: "CSV", latex: "LaTeX" };
  $("#card").innerHTML = `<header><h3>${name}</h3><div class="downloads">${formats.map((f) => `<button type="button" data-download="card" data-format="${f}">${labels[f]}</button>`).join("")}</div></header>
    <div class="plot"></div><dl>${facts.map(([k, v]) => `<dt>${k}</dt><dd>${escaped(v)}</dd>`).join("")}</dl>`;
  if (formats.length) await draw($("#card .plot"), cardFigure, cardSpec(i));
}

function downloadCard(format) {
  const i = state.chosen, name = `card-${address(i).join("-")}`;
  const head = ["language", "probability", "active"], rows = cardRows(i).map((r) => head.map((key) => r[key]));
  if (format === "csv") text(`${name}.csv`, csv(head, rows), "text/csv");
  else if (format === "latex") text(`${name}.tex`, latex(head, rows, `Activation probability of neuron ${address(i).join(":")} in each language.`), "text/plain");
  else image(name, cardSpec(i), format);
}

function start() {
  const sections = [...document.querySelectorAll("main > section")];
  $("#contents").innerHTML = `<ul>${sections.map((s) => `<li><a href="#${s.id}">${$("h2", s).textContent}</a></li>`).join("")}</ul>`;
  form.elements.language.insertAdjacentHTML("beforeend", data.languages.map((l) => `<option value="${escaped(l.code)}">${escaped(l.name)}</option>`).join(""));
  form.addEventListener("input", filterRows);
  form.addEventListener("reset", () => setTimeout(filterRows));
  form.addEventListener("submit", (event) => event.preventDefault());
  $("#neurons thead").addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.sort;
    if (!key) return;
    state.up = state.sort === key ? !state.up : true;
    state.sort = key;
    filterRows();
    $(`#neurons button[data-sort="${key}"]`).focus();
  });
  const choose = (event) => {
    const row = event.target.closest("tr[data-row]");
    if (row && (event.type === "click" || event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      showCard(+row.dataset.row);
    }
  };
  $("#neurons tbody").addEventListener("click", choose);
  $("#neurons tbody").addEventListener("keydown", choose);
  $("#previous").addEventListener("click", () => { state.page--; showRows(); });
  $("#next").addEventListener("click", () => { state.page++; showRows(); });
  filterRows();
  if (total) {
    const wanted = cardFigure ? cardFigure.name.slice(5) : null;
    const first = state.rows.find((i) => address(i).join("-") === wanted) ?? state.rows[0];
    showCard(first);
  }
  drawAll();
  dark.addEventListener("change", drawAll);
  print.addEventListener("change", drawAll);
  let waiting, width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
}

async function drawAll() {
  for (const box of document.querySelectorAll(".chart")) {
    await draw(box, data.figures.find((figure) => figure.name === box.dataset.figure));
  }
  if (state.chosen !== null && cardFigure) await showCard(state.chosen);
  document.body.dataset.ready = "yes";
}
start();
