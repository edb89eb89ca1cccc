const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
/* An element with attributes (false: without it) and what is in it; texts stay texts. */
function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(name, value);
  made.append(...content);
  return made;
}
const figures = new Map(data.figures.map((figure) => [figure.name, figure]));

/* Theme: the style sheet's colours, so that most of a drawing needs no new one at night or on paper. */
function theme(width) {
  const ink = "var(--ink)", soft = "var(--soft)", line = "var(--line)", config = structuredClone(data.light);
  if (width < 480) config.axisXDiscrete = { labelAngle: -45 };
  config.background = "transparent";
  config.font = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif";
  Object.assign(config.axis, { gridColor: line, domainColor: soft, tickColor: soft, labelColor: ink, titleColor: ink });
  Object.assign(config.legend, { labelColor: ink, titleColor: ink });
  config.title.color = config.text.color = config.rule.color = ink;
  config.range = { category: ["specific", "related", "general", "none"].map((kind) => `var(--${kind})`) };
  return config;
}

const colours = { "#cf5a22": "specific", "#15508a": "related", "#2a9d7c": "general", "#9a9a96": "none", "#767671": "none", "#3d3d3a": "ink" };
/* Scales of colours cannot be style sheets': by night nothing is dark, as the ground is, and what is written in cells light. */
const night = matchMedia("(prefers-color-scheme: dark)");
const byNight = {
  '"scheme":"blueorange"': '"range":["#6aaee6","#26292d","#f0a04b"],"interpolate":"rgb"',
  '"scheme":"blues"': '"range":["#26292d","#6aaee6"],"interpolate":"rgb"',
  '"value":"white"': '"value":"#151618"', '"fill":"white"': '"fill":"#151618"', '"stroke":"white"': '"stroke":"#151618"', '"#1c1c1a"': '"#eceae4"',
};
const look = () => `${innerWidth} ${night.matches}`;
function fitted(spec, width) {
  let text = JSON.stringify(spec);
  if (night.matches) for (const [day, instead] of Object.entries(byNight)) text = text.replaceAll(day, instead);
  const copy = JSON.parse(text.replace(/#[0-9a-f]{6}/g, (hex) => (colours[hex] ? `var(--${colours[hex]})` : hex)));
  fit(copy, width);
  return copy;
}
function fit(view, width) {
  if (view.hconcat && width < 560) { /* side by side there is no room */
    view.vconcat = view.hconcat;
    delete view.hconcat;
  }
  if (view.hconcat) for (const part of view.hconcat) fit(part, width / view.hconcat.length);
  else if (view.vconcat) for (const part of view.vconcat) fit(part, width);
  else view.width = Math.max(100, width);
}

const drawn = new Map(), margins = new Map();
async function draw(box, figure, spec = figure.spec) {
  const room = box.clientWidth - parseFloat(getComputedStyle(box).paddingLeft) - parseFloat(getComputedStyle(box).paddingRight);
  const options = { renderer: "svg", actions: false, ast: true, defaultStyle: false, config: theme(room), tooltip: { disableDefaultStyle: true } };
  const key = `${figure.kind} ${room < 560}`;
  let result;
  for (let tries = 0; tries < 2; tries++) { /* axes and legends take room beside the views: how much is seen once drawn */
    const margin = margins.get(key) ?? 60;
    result?.finalize();
    result = await vegaEmbed(box, fitted(spec, room - margin), options);
    const over = $("svg", box).width.baseVal.value - room;
    if (Math.abs(over) < 2) break;
    margins.set(key, margin + over);
  }
  const svg = $("svg", box); /* one image with a name; its numbers are in the table below it */
  for (const part of $$("[role]", svg)) for (const name of ["role", "aria-label", "aria-roledescription"]) part.removeAttribute(name);
  svg.removeAttribute("aria-roledescription");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", figure.title);
  drawn.get(box)?.result.finalize();
  drawn.set(box, { result, look: look() });
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
  const { view } = await vegaEmbed(document.createElement("div"), spec, { renderer: "none", actions: false, ast: true, config: data.light });
  if (format === "svg") text(`${name}.svg`, await view.toSVG(), "image/svg+xml");
  else save(`${name}.png`, await view.toImageURL("png", 3));
  view.finalize();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-download]");
  if (!button) return;
  const { download: name, format } = button.dataset;
  if (name === "explorer") return downloadRows(format);
  if (name === "card") return downloadCard(format);
  const figure = figures.get(name);
  if (format === "csv") text(`${figure.file}.csv`, figure.csv, "text/csv");
  else if (format === "latex") text(`${figure.file}.tex`, figure.latex, "text/plain");
  else image(figure.file, figure.spec, format);
});

/* Tables, made when they are looked at. */
/* As people write them: three digits that matter, no decimals from 100 on; p to a thousandth. */
function number(value, column) {
  if (column === "p" && value < 0.001) return "< 0.001";
  const short = Number.isInteger(value) || Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
  return short.replace("-", "\u2212");
}
function showTable(box) {
  if ($("table", box)) return;
  const { title, columns, numeric, rows, more } = figures.get(box.dataset.table);
  const cell = (tag, value, i) => element(tag, { class: numeric[i] ? "number" : false }, value);
  const head = columns.map((name, i) => cell("th", name, i));
  const body = rows.map((row) => element("tr", {}, ...row.map((value, i) =>
    cell("td", value === null ? "" : numeric[i] ? number(value, columns[i]) : value, i))));
  const table = element("table", { class: "plain" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  box.append(element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `${title}, numbers` }, table));
  if (more) box.append(element("p", { class: "more" }, `and ${more.toLocaleString("en")} more rows, in the CSV`));
}
document.addEventListener("toggle", (event) => { if (event.target.open && event.target.dataset.table) showTable(event.target); }, true);

/* What is shown: a part is about some of what can be chosen, and is shown when that is chosen. */
const choices = document.getElementById("choices");
const chosen = () => Object.fromEntries(new FormData(choices));
const about = (where) => Object.entries(chosen()).every(([key, value]) => !(key in where) || where[key] === value);

function select() {
  const named = $$("select", choices).map((field) => field.selectedOptions[0].textContent);
  if (named.length) $("#chosen").textContent = `; shown: ${named.join(" · ")}`;
  for (const part of $$("[data-where]")) part.hidden = !about(JSON.parse(part.dataset.where));
  for (const chapter of $$(".chapter")) {
    const nothing = $(":scope > .nothing", chapter), panels = $$(":scope > .panel", chapter);
    if (nothing && panels.length) nothing.hidden = panels.some((panel) => !panel.hidden);
    const how = $(":scope > .how", chapter);
    if (how) how.hidden = $$("ul", how).every((notes) => notes.hidden);
  }
  showSet();
  drawAll();
}

let turn = 0;
async function drawAll() {
  const mine = ++turn;
  document.body.dataset.ready = "no";
  for (const box of $$(".chart")) {
    if (box.closest("[hidden]") || drawn.get(box)?.look === look()) continue;
    await draw(box, figures.get(box.dataset.figure));
    await new Promise((done) => setTimeout(done)); /* let the reader in between */
    if (mine !== turn) return;
  }
  await showCard();
  document.body.dataset.ready = "yes";
}
