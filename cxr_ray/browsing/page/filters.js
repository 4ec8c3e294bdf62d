// Which rows match, and in which order they are shown.

const wordFacets = ["label", "status", "error_kind", "mask_status", "qc_flags", "modality", "view_position", "format"];
const numberFacets = ["confidence", "entropy", "uncertainty", "area_fraction", "symmetry"];

const filter = {
  text: "",
  words: new Map(), // facet -> Set of codes; a facet without an entry lets all rows pass
  ranges: new Map(), // facet -> [least, greatest]
  isTicked: false,
  hasPicture: false,
  order: "image_id",
};

const orders = new Map(); // name of an order -> Uint32Array of all rows in this order
let lowerNames = null;

function rowCount() {
  return columns.image_id.names.length;
}

// Rows in the order `column`, or `-column` for the greatest first; rows without a number come last.
function orderedRows(order) {
  if (!orders.has(order)) {
    const rows = Uint32Array.from({ length: rowCount() }, (_, row) => row);
    if (order !== "image_id") {
      const sign = order.startsWith("-") ? -1 : 1;
      const { values } = columns[order.replace(/^-/, "")];
      const keys = values.map((value) => (Number.isNaN(value) ? Infinity : sign * value));
      rows.sort((one, other) => keys[one] - keys[other] || one - other);
    }
    orders.set(order, rows);
  }
  return orders.get(order);
}

// Tests a row must pass, each with the facet that it belongs to.
function activeTests() {
  const tests = [];
  if (filter.text) {
    lowerNames ??= columns.image_id.names.map((name) => name.toLowerCase());
    const wanted = filter.text.toLowerCase();
    tests.push({ facet: "text", passes: (row) => lowerNames[row].includes(wanted) });
  }
  for (const [facet, chosen] of filter.words) tests.push({ facet, passes: wordTest(facet, chosen) });
  for (const [facet, [least, greatest]] of filter.ranges) {
    const { values } = columns[facet];
    const [low, high] = [Math.fround(least), Math.fround(greatest)];
    tests.push({ facet, passes: (row) => values[row] >= low && values[row] <= high });
  }
  if (filter.isTicked) tests.push({ facet: "ticked", passes: (row) => ticks[row] === 1 });
  if (filter.hasPicture) tests.push({ facet: "picture", passes: (row) => !Number.isNaN(columns.thumbnail.values[row]) });
  return tests;
}

function wordTest(facet, chosen) {
  const { words, codes, starts } = columns[facet];
  const wanted = Uint8Array.from({ length: words.length + 1 }, (_, code) => (chosen.has(code) ? 1 : 0));
  if (!starts) return (row) => wanted[codes[row]] === 1;
  return (row) => {
    const [start, end] = [starts[row], starts[row + 1]];
    if (start === end) return wanted[words.length] === 1; // the code of "no flag"
    for (let place = start; place < end; place++) if (wanted[codes[place]]) return true;
    return false;
  };
}

// Rows that match, in order, and for each facet of words the rows that would match with each of its words.
function matchingRows() {
  const tests = activeTests();
  const failed = new Uint8Array(rowCount());
  const failedLast = new Uint8Array(rowCount());
  tests.forEach(({ passes }, number) => {
    for (let row = 0; row < failed.length; row++) {
      if (!passes(row)) {
        failed[row]++;
        failedLast[row] = number;
      }
    }
  });
  const matches = orderedRows(filter.order).filter((row) => failed[row] === 0);
  const counts = new Map();
  for (const facet of wordFacets.filter((name) => columns[name])) {
    const own = tests.findIndex((test) => test.facet === facet);
    counts.set(facet, wordCounts(facet, (row) => failed[row] === 0 || (failed[row] === 1 && failedLast[row] === own)));
  }
  return { matches, counts };
}

function wordCounts(facet, isCounted) {
  const { words, codes, starts } = columns[facet];
  const counts = new Uint32Array(words.length + 1);
  for (let row = 0; row < rowCount(); row++) {
    if (!isCounted(row)) continue;
    if (!starts) counts[codes[row]]++;
    else if (starts[row] === starts[row + 1]) counts[words.length]++;
    else for (let place = starts[row]; place < starts[row + 1]; place++) counts[codes[place]]++;
  }
  return counts;
}

// The filter in words, for the printed page.
function filterInWords() {
  const parts = [];
  if (filter.text) parts.push(`name contains "${filter.text}"`);
  for (const [facet, codes] of filter.words) {
    const words = [...codes].map((code) => facetWord(facet, code)).join(" or ");
    parts.push(`${facetTitle(facet).toLowerCase()}: ${words}`);
  }
  for (const [facet, [least, greatest]] of filter.ranges) {
    parts.push(`${facetTitle(facet).toLowerCase()} ${shortNumber(least)} to ${shortNumber(greatest)}`);
  }
  if (filter.isTicked) parts.push("on the reading list");
  if (filter.hasPicture) parts.push("with a thumbnail");
  return parts.join("; ") || "none";
}
