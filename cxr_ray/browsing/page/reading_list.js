// The reading list: rows that the reader ticked, with notes, kept in this browser and exported as CSV.

let ticks = new Uint8Array(0);
const notes = new Map(); // row -> text
let isKept = true;

function storageKey() {
  return `cxr_ray reading list ${about.page_id}`;
}

function restoreReadingList() {
  ticks = new Uint8Array(rowCount());
  let kept;
  try {
    kept = JSON.parse(localStorage.getItem(storageKey()) ?? "{}");
  } catch {
    kept = {}; // a browser may forbid to keep anything
    isKept = false;
  }
  const [ticked, noted] = [new Set(kept.ticked ?? []), new Map(Object.entries(kept.notes ?? {}))];
  if (!ticked.size && !noted.size) return;
  columns.image_id.names.forEach((name, row) => {
    if (ticked.has(name)) ticks[row] = 1;
    if (noted.has(name)) notes.set(row, noted.get(name));
  });
}

function tickedRows() {
  const rows = [];
  for (let row = 0; row < ticks.length; row++) if (ticks[row]) rows.push(row);
  return rows;
}

function keepReadingList() {
  const ticked = tickedRows().map(nameOf);
  const noted = Object.fromEntries([...notes].map(([row, text]) => [nameOf(row), text]));
  try {
    localStorage.setItem(storageKey(), JSON.stringify({ ticked, notes: noted }));
    isKept = true;
  } catch {
    isKept = false; // shown beside the list
  }
}

function setTicks(rows, value) {
  for (const row of rows) ticks[row] = value ? 1 : 0;
  keepReadingList();
}

function setNote(row, text) {
  if (text.trim()) notes.set(row, text);
  else notes.delete(row);
  keepReadingList();
}

function csvCell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The ticked rows with all columns of the page as CSV (RFC 4180), in the order of their names.
function readingListCsv() {
  const words = ["status", "error_kind", "error", "label", "mask_status", "modality", "view_position", "format"];
  const wordColumns = words.filter((name) => columns[name]);
  const numberColumns = [...numberFacets.filter((name) => columns[name]), ...probabilityNames()];
  const flags = columns.qc_flags ? ["qc_flags"] : [];
  const lines = [["image_id", "uri", ...wordColumns, ...numberColumns, ...flags, "note"]];
  for (const row of tickedRows()) {
    lines.push([
      nameOf(row),
      uriOf(row),
      ...wordColumns.map((name) => wordOf(name, row)),
      ...numberColumns.map((name) => plainNumber(numberOf(name, row))),
      ...flags.map(() => flagsOf(row).join(" ")),
      notes.get(row),
    ]);
  }
  return lines.map((cells) => cells.map(csvCell).join(",") + "\r\n").join("");
}

function exportReadingList() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([readingListCsv()], { type: "text/csv;charset=utf-8" }));
  link.download = "reading_list.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
