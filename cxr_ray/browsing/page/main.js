// Puts the page together once all columns are there.

const about = JSON.parse(document.getElementById("about").textContent);
const find = (id) => document.getElementById(id);

class Browser {
  constructor() {
    this.matches = new Uint32Array(0);
    const ticked = (row) => this.toggle(row);
    this.list = new ItemList(find("items"), { open: (position) => this.detail.open(position), ticked });
    this.detail = new Detail(find("detail"), this.list, { ticked });
    this.waiting = null;
  }

  // Connect the controls, and show all rows.
  start() {
    this.buildFilters();
    buildOrders(find("order"));
    this.connectLayout();
    this.connectReadingList();
    window.addEventListener("beforeprint", () => fillPrint(find("print"), this.matches));
    if (matchMedia("(max-width: 900px)").matches) find("panel").open = false;
    find("outlines").closest("label").hidden = !about.thumbnails.outlined.length;
    document.body.classList.add("ready");
    this.showReadingList();
    this.update();
  }

  buildFilters() {
    find("filters").replaceChildren();
    buildFilterPanel(find("filters"), (change) => this.changed(change));
  }

  connectLayout() {
    find("order").addEventListener("change", (event) => this.changed(() => (filter.order = event.target.value)));
    find("outlines").addEventListener("change", (event) => {
      showsOutlines = event.target.checked;
      this.list.redraw();
    });
    for (const id of ["as-grid", "as-list"]) {
      find(id).addEventListener("change", () => {
        this.list.isGrid = find("as-grid").checked;
        this.list.measure();
        this.list.activate(this.list.active);
      });
    }
    find("reset").addEventListener("click", () => {
      resetFilter();
      this.buildFilters();
      this.update();
    });
  }

  connectReadingList() {
    find("tick-all").addEventListener("click", () => this.tickAll());
    find("clear").addEventListener("click", () => this.clear());
    find("export").addEventListener("click", exportReadingList);
  }

  // Change the filter, and show what matches with the next frame; several changes before it are one.
  changed(change) {
    change();
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.update();
    });
  }

  update() {
    performance.mark("filter");
    const found = matchingRows();
    this.matches = found.matches;
    showCounts(find("filters"), found.counts);
    this.list.show(this.matches);
    const count = `${this.matches.length.toLocaleString("en")} of ${rowCount().toLocaleString("en")} images`;
    find("count").textContent = this.matches.length ? count : `${count}: no image matches these filters`;
    find("tick-all").disabled = !this.matches.length;
    performance.measure("filter", "filter");
  }

  toggle(row) {
    setTicks([row], !ticks[row]);
    this.showReadingList();
  }

  tickAll() {
    setTicks(this.matches, true);
    this.showReadingList();
    this.list.redraw();
  }

  clear() {
    if (!confirm("Take all images off the reading list? Notes stay.")) return;
    setTicks(tickedRows(), false);
    this.showReadingList();
    this.update();
  }

  showReadingList() {
    const count = tickedRows().length;
    find("ticked").textContent = `${count.toLocaleString("en")} on the reading list`;
    for (const id of ["export", "clear"]) find(id).disabled = !count;
    find("not-kept").hidden = isKept;
  }
}

window.cxrStart = () => {
  const missing = about.scripts.filter((path) => !columns[path.split("/").pop().replace(/\.js$/, "")]);
  if (missing.length) {
    const fault = find("loading");
    fault.setAttribute("role", "alert");
    fault.textContent = `${missing.join(", ")} could not be loaded. The page needs the folders columns and thumbnails beside it.`;
    return;
  }
  restoreReadingList();
  new Browser().start();
};

function buildOrders(select) {
  const choices = [["image_id", "Name"]];
  for (const name of numberFacets.filter((facet) => columns[facet])) {
    const title = facetTitle(name).replace(" (nats)", "");
    choices.push([name, `${title}, lowest first`], [`-${name}`, `${title}, highest first`]);
  }
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value, textContent: text })));
}
