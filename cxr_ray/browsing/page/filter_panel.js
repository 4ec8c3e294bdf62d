// The form of filters: search, words with counts, ranges of numbers with histograms.

const titles = {
  label: "Predicted class",
  status: "Status",
  error_kind: "Error",
  mask_status: "Mask",
  qc_flags: "Quality flags",
  modality: "Modality",
  view_position: "View",
  format: "File format",
  confidence: "Confidence",
  entropy: "Entropy (nats)",
  uncertainty: "Uncertainty of the mask",
  area_fraction: "Area of the mask",
  symmetry: "Symmetry of the lungs",
};
const absent = { error_kind: "no error", mask_status: "no mask was asked for", label: "no prediction" };
const BINS = 40;

function facetTitle(facet) {
  return titles[facet] ?? spaced(facet);
}

function facetWord(facet, code) {
  const word = columns[facet].words[code];
  if (word === undefined) return "no flag";
  return word === null ? (absent[facet] ?? "unknown") : spaced(word);
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function shortNumber(value) {
  return Number.isNaN(value) ? "–" : value.toFixed(2);
}

function buildFilterPanel(form, changed) {
  const search = element("input", { type: "search", id: "search", placeholder: "part of a file name", autocomplete: "off" });
  search.addEventListener("input", () => changed(() => (filter.text = search.value.trim())));
  form.append(element("div", { className: "field" }, element("label", { htmlFor: "search", textContent: "Name" }), search));
  for (const facet of ["label", "status", "error_kind"]) form.append(...wordField(facet, changed));
  for (const facet of numberFacets.slice(0, 3)) form.append(...rangeField(facet, changed));
  for (const facet of wordFacets.slice(3)) form.append(...wordField(facet, changed));
  for (const facet of numberFacets.slice(3)) form.append(...rangeField(facet, changed));
  form.append(listField(changed));
}

function checkbox(label, change) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => change(input.checked));
  const text = element("span", { textContent: label });
  return element("label", { className: "choice" }, input, text, element("span", { className: "count" }));
}

// A fieldset of the words of a column; nothing where all rows have the same word.
function wordField(facet, changed) {
  const column = columns[facet];
  if (!column || column.words.length + (facet === "qc_flags" ? 1 : 0) < 2) return [];
  const field = element("fieldset", {}, element("legend", { textContent: facetTitle(facet) }));
  field.dataset.facet = facet;
  const codes = [...column.words.keys()];
  if (facet === "qc_flags") codes.push(column.words.length);
  for (const code of codes) {
    const choose = (isChosen) => changed(() => chooseWord(facet, code, isChosen));
    const choice = checkbox(facetWord(facet, code), choose);
    choice.dataset.code = code;
    field.append(choice);
  }
  return [field];
}

function chooseWord(facet, code, isChosen) {
  const chosen = filter.words.get(facet) ?? new Set();
  if (isChosen) chosen.add(code);
  else chosen.delete(code);
  if (chosen.size) filter.words.set(facet, chosen);
  else filter.words.delete(facet);
}

// Least and greatest value of a column, rounded outwards to hundredths; null where it has no two values.
function extent(facet) {
  let [least, greatest] = [Infinity, -Infinity];
  for (const value of columns[facet]?.values ?? []) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  return least < greatest ? [Math.floor(least * 100) / 100, Math.ceil(greatest * 100) / 100] : null;
}

function rangeField(facet, changed) {
  const ends = extent(facet);
  if (!ends) return [];
  const field = element("fieldset", { className: "range" }, element("legend", { textContent: facetTitle(facet) }));
  const bars = histogram(facet, ends);
  const inputs = ["at least", "at most"].map((name, end) => {
    const [min, max] = ends;
    const input = element("input", { type: "range", min, max, step: 0.01, value: ends[end] });
    const shown = element("output", { textContent: shortNumber(ends[end]) });
    field.append(element("label", {}, element("span", { textContent: name }), input, shown));
    return { input, shown };
  });
  const [low, high] = inputs;
  inputs.forEach(({ input }, end) =>
    input.addEventListener("input", () => {
      if (Number(low.input.value) > Number(high.input.value)) inputs[1 - end].input.value = input.value;
      for (const one of inputs) one.shown.textContent = shortNumber(Number(one.input.value));
      changed(() => chooseRange(facet, ends, Number(low.input.value), Number(high.input.value), bars));
    }),
  );
  field.querySelector("legend").after(bars);
  return [field];
}

function chooseRange(facet, ends, least, greatest, bars) {
  const isWhole = least <= ends[0] && greatest >= ends[1];
  if (isWhole) filter.ranges.delete(facet);
  else filter.ranges.set(facet, [least, greatest]);
  const width = (ends[1] - ends[0]) / BINS;
  [...bars.children].forEach((bar, bin) => {
    const middle = ends[0] + (bin + 0.5) * width;
    bar.classList.toggle("outside", middle < least || middle > greatest);
  });
}

// Counts of all rows over the values of a column, drawn as bars whose heights are square roots of the counts.
function histogram(facet, [least, greatest]) {
  const counts = new Uint32Array(BINS);
  for (const value of columns[facet].values) {
    if (!Number.isNaN(value)) counts[Math.min(BINS - 1, Math.floor(((value - least) / (greatest - least)) * BINS))]++;
  }
  const most = Math.sqrt(Math.max(...counts));
  const bars = element("div", { className: "histogram" });
  bars.setAttribute("aria-hidden", "true");
  for (const count of counts) {
    const bar = element("span");
    bar.style.height = `${count ? Math.max(4, (100 * Math.sqrt(count)) / most) : 0}%`;
    bars.append(bar);
  }
  return bars;
}

function listField(changed) {
  const field = element("fieldset", {}, element("legend", { textContent: "Show only" }));
  field.append(checkbox("on the reading list", (isChosen) => changed(() => (filter.isTicked = isChosen))));
  if (about.thumbnails.n_thumbnails && about.thumbnails.n_thumbnails < rowCount()) {
    field.append(checkbox("with a thumbnail", (isChosen) => changed(() => (filter.hasPicture = isChosen))));
  }
  return field;
}

// Write beside each word how many rows match with it.
function showCounts(form, counts) {
  for (const field of form.querySelectorAll("fieldset[data-facet]")) {
    for (const choice of field.querySelectorAll(".choice")) {
      const count = counts.get(field.dataset.facet)[Number(choice.dataset.code)];
      choice.querySelector(".count").textContent = count.toLocaleString("en");
      choice.classList.toggle("empty", count === 0);
    }
  }
}

function resetFilter() {
  filter.text = "";
  filter.words.clear();
  filter.ranges.clear();
  filter.isTicked = filter.hasPicture = false;
}
