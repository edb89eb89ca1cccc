
/* The explorer: one set of neurons at a time. */
const PAGE = 25;
const filters = document.getElementById("filters");
const digits = { score: 4, margin: 4, keeps: 2 };
let neurons = null, columns = [], codes = [];
const state = { rows: [], page: 0, sort: "layer", up: true, card: null };
const shown = (column, i) => {
  const value = column.of(i);
  return value == null ? "" : digits[column.key] ? value.toFixed(digits[column.key]) : String(value);
};

function showSet() {
  const next = data.sets.find((set) => about(set.where));
  if (next === neurons) return;
  neurons = next;
  const held = Boolean(neurons?.layer);
  $("#explore").hidden = !held;
  $("#elsewhere").hidden = held;
  if (!held) {
    state.card = null;
    $("#elsewhere").textContent = neurons
      ? `The ${neurons.neurons.toLocaleString("en")} neurons of ${neurons.name} would make this page too large; they are in the run's folder, in neurons.parquet.`
      : "There are no neurons for what is chosen.";
    return;
  }
  codes = neurons.languages.map((language) => language.code);
  columns = [
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
  const languages = filters.elements.language;
  languages.replaceChildren(...[{ code: "", name: "all" }, ...neurons.languages].map((l) => element("option", { value: l.code }, l.name)));
  if (!columns.some((column) => column.key === state.sort)) state.sort = "layer";
  state.card = null;
  filterRows();
  const wanted = neurons.card?.name.slice(5);
  state.card = state.rows.find((i) => address(i).join("-") === wanted) ?? state.rows[0] ?? null;
  showRows();
}

function filterRows() {
  const f = Object.fromEntries(new FormData(filters));
  const k = f.language === "" ? null : codes.indexOf(f.language);
  const first = f.first === "" ? -Infinity : +f.first, last = f.last === "" ? Infinity : +f.last;
  const n = f.n === "" ? null : +f.n, wanted = f.neuron.trim();
  const column = columns.find((c) => c.key === state.sort), sign = state.up ? 1 : -1;
  state.rows = [];
  for (let i = 0; i < neurons.layer.length; i++) {
    if (k !== null && !neurons.member[i].includes(k)) continue;
    if (f.kind && neurons.kind[i] !== f.kind) continue;
    if (n !== null && neurons.member[i].length !== n) continue;
    if (neurons.layer[i] < first || neurons.layer[i] > last) continue;
    if (wanted && String(neurons.neuron[i]) !== wanted) continue;
    state.rows.push(i);
  }
  const keyed = new Map(state.rows.map((i) => [i, column.of(i)]));
  state.rows.sort((a, b) => {
    const x = keyed.get(a), y = keyed.get(b);
    if (x === y) return a - b;
    if (x == null || y == null) return x == null ? 1 : -1;
    return x < y ? -sign : sign;
  });
  state.page = 0;
  showRows();
}

function showRows() {
  const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
  $("#rows thead").replaceChildren(element("tr", {}, ...columns.map((c) => {
    const sort = c.key === state.sort ? (state.up ? "ascending" : "descending") : "none";
    const button = element("button", { type: "button", "data-sort": c.key }, c.label);
    return element("th", { scope: "col", "aria-sort": sort, class: c.number ? "number" : "" }, button);
  })));
  $("#rows tbody").replaceChildren(...state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((i) => {
    const cells = columns.map((c) => c.key === "kind"
      ? element("td", {}, element("span", { class: `kind ${neurons.kind[i]}` }, neurons.kind[i]))
      : element("td", { class: c.number ? "number" : c.key }, shown(c, i)));
    return element("tr", { tabindex: 0, "data-row": i, "aria-selected": i === state.card ? "true" : "false" }, ...cells);
  }));
  if (!state.rows.length) $("#rows tbody").append(element("tr", {}, element("td", { colspan: columns.length }, "No neuron passes the filters.")));
  $("#position").textContent = `page ${state.page + 1} of ${pages}`;
  $("#previous").disabled = state.page === 0;
  $("#next").disabled = state.page >= pages - 1;
  $("#found").textContent = `${state.rows.length.toLocaleString("en")} of ${neurons.layer.length.toLocaleString("en")} neurons`;
}

/* What is downloaded of the rows that pass the filters, and of a card; a figure's files come with it. */
const quote = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
const csv = (columns, rows) => [columns, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
const tex = (cell) => String(cell ?? "").replace(/[&%$#_{}]/g, "\\$&");
function latex(columns, rows, caption, label, numeric = []) {
  const body = rows.map((row) => `    ${row.map(tex).join(" & ")} \\\\\n`).join("");
  const head = columns.map(tex).join(" & "), align = columns.map((_, i) => (numeric[i] ? "r" : "l")).join("");
  return `\\begin{table}\n  \\centering\n  \\caption{${tex(caption)}}\n  \\label{tab:${label}}\n  \\begin{tabular}{${align}}\n    \\toprule\n    ${head} \\\\\n    \\midrule\n${body}    \\bottomrule\n  \\end{tabular}\n\\end{table}\n`;
}

function downloadRows(format) {
  const p = neurons.p ? codes.map((code) => `p_${code}`) : [];
  const head = [...columns.map((c) => c.key), ...p];
  const rows = state.rows.map((i) => [...columns.map((c) => c.of(i)), ...(neurons.p ? neurons.p[i].map((x) => x / 1e5) : [])]);
  if (format === "csv") text("neurons.csv", csv(head, rows), "text/csv");
  else text("neurons.tex", latex(columns.map((c) => c.label), state.rows.map((i) => columns.map((c) => shown(c, i))), "Neurons", "neurons", columns.map((c) => c.number)), "text/plain");
}

/* The card of one neuron: the figure of the set's first card with this neuron's values in it. */
const address = (i) => [neurons.layer[i], ...(neurons.expert && neurons.expert[i] >= 0 ? [neurons.expert[i]] : []), neurons.neuron[i]];
const cardRows = (i) => neurons.languages.map((language, k) => ({
  language: language.name, probability: neurons.p[i][k] / 1e5, active: neurons.member[i].includes(k) ? "above tau" : "not above tau",
}));

function cardSpec(i) {
  const spec = structuredClone(neurons.card.spec);
  for (const layer of spec.layer) if (layer.data?.name === "card") layer.data.values = cardRows(i);
  return spec;
}

/* What silencing the sets this neuron is of costs their languages. */
function effects(i) {
  const short = (x, digits) => (x >= 1000 ? Math.round(x).toLocaleString("en") : x.toPrecision(digits));
  const signed = (x) => (x == null ? "?" : `${x < 0 ? "−" : "+"}${short(Math.abs(x), 3)}`);
  return neurons.costs.filter((cost) => cost.setting.split("+").includes(neurons.kind[i])).flatMap((cost) =>
    neurons.member[i].map((k) => [cost, cost.languages.indexOf(codes[k]), neurons.languages[k].name]).filter(([, at]) => at >= 0 && cost.change[at] != null).map(([, at, name]) => {
      const interval = cost.low[at] == null ? "" : ` [${signed(cost.low[at])}, ${signed(cost.high[at])}]`;
      return `${name}, ${cost.neurons[at].toLocaleString("en")} ${cost.setting}: from ${short(cost.before[at], 4)} by ${signed(cost.change[at])}${interval}`;
    }));
}

/* What silencing this neuron alone would cost each language: the languages it costs most first. */
function alone(i) {
  if (!neurons.own) return [];
  const mine = neurons.own.names.map((name, k) => [name, neurons.own.effects[i][k], neurons.own.below[i][k]]);
  return mine.sort((a, b) => b[1] - a[1]).map(([name, cost, below]) =>
    `${name}: ${cost < 0 ? "−" : "+"}${(Math.abs(cost) / 1e6).toFixed(6)}, more than ${(100 * below).toFixed(below > 0.99 ? 2 : 0)}% of all neurons`);
}

async function showCard(i = state.card) {
  state.card = i;
  if (i === null) return;
  for (const row of $$("#rows tbody tr")) row.setAttribute("aria-selected", +row.dataset.row === i);
  const facts = [
    ["kind", neurons.kind[i] + (neurons.selected[i] ? "" : ", not among the selected")],
    ["highly active in", neurons.member[i].map((k) => neurons.languages[k].name).join(", ") || "no language"],
    neurons.score?.[i] != null && ["score", neurons.score[i].toFixed(6)],
    neurons.margin?.[i] != null && ["margin", `${neurons.margin[i].toFixed(6)} ${neurons.margin[i] < 0 ? "outside" : "inside"} the selection`],
    neurons.keeps?.[i] != null && ["keeps its class", `in ${(100 * neurons.keeps[i]).toFixed(0)}% of the resamplings`],
  ].filter(Boolean);
  const where = address(i), costs = effects(i);
  const name = where.length === 3 ? `Layer ${where[0]}, expert ${where[1]}, neuron ${where[2]}` : `Layer ${where[0]}, neuron ${where[1]}`;
  const drawn = Boolean(neurons.p && neurons.card);
  const card = $("#card-of-one").content.cloneNode(true);
  $("h3", card).textContent = name;
  $("dl", card).append(...facts.flatMap(([term, words]) => [element("dt", {}, term), element("dd", {}, words)]));
  $(".effects", card).append(...costs.map((cost) => element("li", {}, cost)));
  const own = alone(i);
  $(".alone", card).append(...own.map((cost) => element("li", {}, cost)));
  if (!drawn) $(".downloads", card).remove();
  if (!costs.length) for (const part of $$(".of-sets, .effects", card)) part.remove();
  if (!own.length) for (const part of $$(".of-one, .alone", card)) part.remove();
  $("#card").replaceChildren(card);
  if (drawn) await draw($("#card .plot"), neurons.card, cardSpec(i));
}

function downloadCard(format) {
  const i = state.card, name = `card-${address(i).join("-")}`;
  const head = ["language", "probability", "active"], rows = cardRows(i).map((r) => head.map((key) => r[key]));
  if (format === "csv") text(`${name}.csv`, csv(head, rows), "text/csv");
  else if (format === "latex") text(`${name}.tex`, latex(head, rows, `Activation probability of neuron ${address(i).join(":")} in each language.`, name), "text/plain");
  else image(name, cardSpec(i), format);
}

function start() {
  const chapters = $$("main > .chapter");
  const links = chapters.map((chapter) => element("li", {}, element("a", { href: `#${chapter.id}` }, $("h2", chapter).textContent.replace(/ and .*/, ""))));
  $("#contents").append(element("ul", {}, ...links));
  filters.addEventListener("input", filterRows);
  filters.addEventListener("reset", () => setTimeout(filterRows));
  filters.addEventListener("submit", (event) => event.preventDefault());
  choices.addEventListener("change", select);
  $("#rows thead").addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.sort;
    if (!key) return;
    state.up = state.sort === key ? !state.up : true;
    state.sort = key;
    filterRows();
    $(`#rows button[data-sort="${key}"]`).focus();
  });
  const choose = (event) => {
    const row = event.target.closest("tr[data-row]");
    if (row && (event.type === "click" || event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      showCard(+row.dataset.row);
      if (innerWidth <= 960) $("#card").scrollIntoView({ block: "nearest" }); /* it stands above the table */
    }
  };
  $("#rows tbody").addEventListener("click", choose);
  $("#rows tbody").addEventListener("keydown", choose);
  $("#previous").addEventListener("click", () => { state.page--; showRows(); });
  $("#next").addEventListener("click", () => { state.page++; showRows(); });
  night.addEventListener("change", drawAll);
  addEventListener("resize", () => {
    clearTimeout(start.waiting);
    start.waiting = setTimeout(drawAll, 150);
  });
  select();
}
start();
