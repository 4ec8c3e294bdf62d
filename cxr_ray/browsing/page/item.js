// How one row looks: its picture from a sheet of thumbnails, and its facts.

let showsOutlines = true;

// Show the thumbnail of a row as the background of a square element, with the outline of its mask above it.
function paintPicture(square, row) {
  const place = columns.thumbnail.values[row];
  const { folder, per_row: perRow, outlined } = about.thumbnails;
  square.classList.toggle("blank", Number.isNaN(place));
  square.textContent = Number.isNaN(place) ? blankText(row) : "";
  if (Number.isNaN(place)) {
    square.style.backgroundImage = "none";
    return;
  }
  const perSheet = perRow * perRow;
  const [sheet, tile] = [Math.floor(place / perSheet), place % perSheet];
  const file = `${folder}/${String(sheet).padStart(5, "0")}`;
  const layers = [`url("${file}.jpg")`];
  if (showsOutlines && outlined.includes(sheet)) layers.unshift(`url("${file}.png")`);
  const last = Math.ceil(tilesOf(sheet) / perRow) - 1; // the last sheet may have fewer rows of tiles
  const [across, down] = [tile % perRow, Math.floor(tile / perRow)];
  square.style.backgroundImage = layers.join(", ");
  square.style.backgroundSize = `${100 * perRow}% ${100 * (last + 1)}%`;
  square.style.backgroundPosition = `${(100 * across) / (perRow - 1)}% ${last ? (100 * down) / last : 0}%`;
}

function tilesOf(sheet) {
  const perSheet = about.thumbnails.per_row ** 2;
  return Math.min(perSheet, about.thumbnails.n_tiles - sheet * perSheet);
}

function blankText(row) {
  if (wordOf("status", row) === "error") return spaced(wordOf("error_kind", row) ?? "error");
  return "no thumbnail";
}

// What the row is about in a few words: its class, its error or the state of its mask.
function headingOf(row) {
  if (wordOf("status", row) === "error") return "Error";
  return spaced(wordOf("label", row) ?? maskState(row) ?? wordOf("status", row));
}

function maskState(row) {
  const word = columns.mask_status ? wordOf("mask_status", row) : columns.area_fraction ? wordOf("status", row) : null;
  return word === null ? null : { ok: "mask", empty: "empty mask", skipped: "no mask asked for", error: "mask failed" }[word] ?? word;
}

function detailsOf(row) {
  if (wordOf("status", row) === "error") return spaced(wordOf("error_kind", row) ?? "error");
  const parts = [];
  const uncertainty = numberOf("uncertainty", row);
  if (!Number.isNaN(uncertainty)) parts.push(`uncertainty ${shortNumber(uncertainty)}`);
  else if (maskState(row)) parts.push(maskState(row));
  return parts.join(" · ");
}

function makeItem() {
  const item = element("div", { className: "item" });
  item.setAttribute("role", "option");
  item.innerHTML =
    '<span class="tick" aria-hidden="true"></span><span class="picture"></span>' +
    '<span class="heading"></span><span class="chip"><span class="unseen">confidence </span><span class="value"></span></span><span class="details"></span><span class="flags"></span><span class="name"><bdi></bdi></span>';
  return item;
}

function paintItem(item, row) {
  const part = (name) => item.querySelector(`.${name}`);
  const confidence = numberOf("confidence", row);
  paintPicture(part("picture"), row);
  item.classList.toggle("failed", wordOf("status", row) === "error");
  part("heading").textContent = headingOf(row);
  part("chip").hidden = Number.isNaN(confidence);
  part("value").textContent = shortNumber(confidence);
  part("details").textContent = detailsOf(row);
  part("flags").textContent = flagsOf(row).map(spaced).join(", ");
  part("name").firstChild.textContent = nameOf(row);
  item.title = nameOf(row);
  item.setAttribute("aria-selected", ticks[row] ? "true" : "false");
}
