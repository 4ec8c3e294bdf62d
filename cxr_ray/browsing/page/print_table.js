// What is printed: a table of the reading list, or without one of the first rows that match.

const MOST_PRINTED = 300;

function fillPrint(section, matches) {
  const ticked = tickedRows();
  const rows = ticked.length ? ticked : [...matches.subarray(0, MOST_PRINTED)];
  const shown = rows.slice(0, MOST_PRINTED);
  const all = ticked.length ? ticked.length : matches.length;
  const what = ticked.length ? "Reading list" : "Matching images";
  section.querySelector("h2").textContent = `${what}: ${all.toLocaleString("en")}`;
  section.querySelector("p").textContent =
    `Filter: ${filterInWords()}; ${matches.length.toLocaleString("en")} of ${rowCount().toLocaleString("en")} images match.` +
    (all > shown.length ? ` The first ${shown.length} are printed.` : "");
  section.querySelector("tbody").replaceChildren(...shown.map(printedRow));
}

function printedRow(row) {
  const picture = element("span", { className: "picture" });
  paintPicture(picture, row);
  const cell = (text) => element("td", { textContent: text });
  return element(
    "tr",
    {},
    element("td", {}, picture),
    element("th", { scope: "row", textContent: nameOf(row) }),
    cell(headingOf(row)),
    cell(shortNumber(numberOf("confidence", row))),
    cell(detailsOf(row)),
    cell(flagsOf(row).map(spaced).join(", ")),
    cell(notes.get(row) ?? ""),
  );
}
