// The dialog of one row: a larger picture, all its values, a tick and a note.

class Detail {
  constructor(dialog, list, { ticked }) {
    this.dialog = dialog;
    this.list = list;
    this.part = (name) => dialog.querySelector(`.${name}`);
    this.tick = dialog.querySelector("#detail-tick");
    this.note = dialog.querySelector("#detail-note");
    this.tick.addEventListener("change", () => {
      ticked(this.row);
      list.redraw();
    });
    this.note.addEventListener("change", () => setNote(this.row, this.note.value));
    this.part("previous").addEventListener("click", () => this.step(-1));
    this.part("next").addEventListener("click", () => this.step(1));
    this.part("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => setNote(this.row, this.note.value));
  }

  open(position) {
    this.show(position);
    this.dialog.showModal();
  }

  step(by) {
    const position = this.list.active + by;
    if (position < 0 || position >= this.list.rows.length) return;
    setNote(this.row, this.note.value);
    this.list.activate(position);
    this.show(position);
  }

  key(event) {
    if (event.target === this.note) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.step(by);
  }

  show(position) {
    this.row = this.list.rows[position];
    const picture = this.part("picture");
    paintPicture(picture, this.row);
    const isDrawn = !Number.isNaN(columns.thumbnail.values[this.row]);
    picture.setAttribute("aria-label", isDrawn ? `Thumbnail of ${nameOf(this.row)}` : blankText(this.row));
    this.part("title").textContent = headingOf(this.row);
    this.part("place").textContent = `${(position + 1).toLocaleString("en")} of ${this.list.rows.length.toLocaleString("en")}`;
    this.part("previous").disabled = position === 0;
    this.part("next").disabled = position === this.list.rows.length - 1;
    this.part("facts").replaceChildren(...this.facts());
    this.part("probabilities").replaceChildren(...this.probabilities());
    this.tick.checked = ticks[this.row] === 1;
    this.note.value = notes.get(this.row) ?? "";
  }

  facts() {
    const row = this.row;
    const found = [["Image", nameOf(row)], ["File", uriOf(row)]];
    for (const name of ["status", "error_kind", "error", "mask_status", "modality", "view_position", "format"]) {
      const word = wordOf(name, row);
      if (word !== null) found.push([name === "error" ? "Reason" : facetTitle(name), name === "error" ? word : spaced(word)]);
    }
    for (const name of numberFacets) {
      const value = numberOf(name, row);
      if (!Number.isNaN(value)) found.push([facetTitle(name), value.toFixed(3)]);
    }
    if (columns.qc_flags) found.push([facetTitle("qc_flags"), flagsOf(row).map(spaced).join(", ") || "none"]);
    return found.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]);
  }

  // A line for each class, with a bar as long as its probability.
  probabilities() {
    const names = probabilityNames().filter((name) => !Number.isNaN(numberOf(name, this.row)));
    return names.map((name) => {
      const value = numberOf(name, this.row);
      const bar = element("span", { className: "part" });
      bar.style.setProperty("--part", value);
      return element(
        "tr",
        {},
        element("th", { scope: "row", textContent: spaced(name.slice("prob_".length)) }),
        element("td", {}, bar, element("span", { textContent: value.toFixed(3) })),
      );
    });
  }
}
