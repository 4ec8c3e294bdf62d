// Columns of the rows. Each file of the folder columns calls cxrColumn once.

const columns = {};

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function indicesOf(column) {
  const Kind = { 8: Uint8Array, 16: Uint16Array, 32: Uint32Array }[column.bits];
  return new Kind(bytesOf(column.data).buffer);
}

function namesOf(column) {
  const shared = new Uint16Array(bytesOf(column.shared).buffer);
  let before = "";
  return column.rest.map((rest, row) => (before = before.slice(0, shared[row]) + rest));
}

const decoders = {
  number: (column) => ({ values: new Float32Array(bytesOf(column.data).buffer) }),
  word: (column) => ({ words: column.words, codes: indicesOf(column) }),
  uri: (column) => ({ words: column.words, ends: column.ends, codes: indicesOf(column) }),
  list: (column) => ({
    words: column.words,
    codes: indicesOf(column),
    starts: new Uint32Array(bytesOf(column.starts).buffer),
  }),
  name: (column) => ({ names: namesOf(column) }),
};

window.cxrColumn = (column) => {
  columns[column.name] = { kind: column.kind, ...decoders[column.kind](column) };
};

function spaced(word) {
  return word === null ? "none" : String(word).replaceAll("_", " ");
}

function nameOf(row) {
  return columns.image_id.names[row];
}

// Word of a column in a row; null where the column or the value is missing.
function wordOf(name, row) {
  const column = columns[name];
  return column ? column.words[column.codes[row]] : null;
}

// Number of a column in a row; NaN where the column or the value is missing.
function numberOf(name, row) {
  const column = columns[name];
  return column ? column.values[row] : NaN;
}

function flagsOf(row) {
  const flags = columns.qc_flags;
  if (!flags) return [];
  return Array.from(flags.codes.subarray(flags.starts[row], flags.starts[row + 1]), (code) => flags.words[code]);
}

function uriOf(row) {
  const { words, ends, codes } = columns.uri;
  return ends[codes[row]] ? words[codes[row]] + nameOf(row) : words[codes[row]];
}

// Names of the columns of probabilities, in the order of the model's outputs.
function probabilityNames() {
  return Object.keys(columns).filter((name) => name.startsWith("prob_"));
}

// A float32 with no more digits than it holds.
function plainNumber(value) {
  return Number.isNaN(value) ? "" : String(Number(value.toPrecision(7)));
}
