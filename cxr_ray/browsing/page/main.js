// Puts the page together once all columns are there.

const about = JSON.parse(document.getElementById("about").textContent);

window.cxrStart = () => {
  const missing = about.scripts.filter((path) => !columns[path.split("/").pop().replace(/\.js$/, "")]);
  if (missing.length) {
    showFault(`${missing.join(", ")} could not be loaded. The page needs the folders columns and thumbnails beside it.`);
    return;
  }
  restoreReadingList();
  const find = (id) => document.getElementById(id);
  const form = find("filters");
  let matches = new Uint32Array(0);

  const tickChanged = (row) => {
    setTicks([row], !ticks[row]);
    showReadingList();
  };
  const list = new ItemList(find("items"), { open: (position) => detail.open(position), ticked: tickChanged });
  const detail = new Detail(find("detail"), list, { ticked: tickChanged });

  function update() {
    performance.mark("filter");
    const found = matchingRows();
    matches = found.matches;
    showCounts(form, found.counts);
    list.show(matches);
    const count = `${matches.length.toLocaleString("en")} of ${rowCount().toLocaleString("en")} images`;
    find("count").textContent = matches.length ? count : `${count}: no image matches these filters`;
    find("tick-all").disabled = !matches.length;
    performance.measure("filter", "filter");
  }

  function showReadingList() {
    const count = tickedRows().length;
    find("ticked").textContent = `${count.toLocaleString("en")} on the reading list`;
    for (const id of ["export", "clear"]) find(id).disabled = !count;
    find("not-kept").hidden = isKept;
  }

  let waiting = null;
  const changed = (change) => {
    change();
    waiting ??= requestAnimationFrame(() => {
      waiting = null;
      update();
    });
  };

  buildFilterPanel(form, changed);
  buildOrders(find("order"));
  find("order").addEventListener("change", (event) => changed(() => (filter.order = event.target.value)));
  find("outlines").addEventListener("change", (event) => {
    showsOutlines = event.target.checked;
    list.redraw();
  });
  for (const id of ["as-grid", "as-list"]) {
    find(id).addEventListener("change", () => {
      list.isGrid = find("as-grid").checked;
      list.measure();
      list.activate(list.active);
    });
  }
  find("reset").addEventListener("click", () => {
    resetFilter();
    form.replaceChildren();
    buildFilterPanel(form, changed);
    update();
  });
  find("tick-all").addEventListener("click", () => {
    setTicks(matches, true);
    showReadingList();
    list.redraw();
  });
  find("clear").addEventListener("click", () => {
    if (!confirm("Take all images off the reading list? Notes stay.")) return;
    setTicks(tickedRows(), false);
    showReadingList();
    update();
  });
  find("export").addEventListener("click", exportReadingList);
  window.addEventListener("beforeprint", () => fillPrint(find("print"), matches));
  if (matchMedia("(max-width: 900px)").matches) find("panel").open = false;
  find("outlines").closest("label").hidden = !about.thumbnails.outlined.length;
  document.body.classList.add("ready");
  showReadingList();
  update();
};

function buildOrders(select) {
  const orders = [["image_id", "Name"]];
  for (const name of numberFacets.filter((facet) => columns[facet])) {
    const title = facetTitle(name).replace(" (nats)", "");
    orders.push([name, `${title}, lowest first`], [`-${name}`, `${title}, highest first`]);
  }
  select.replaceChildren(...orders.map(([value, text]) => element("option", { value, textContent: text })));
}

function showFault(text) {
  const fault = document.getElementById("loading");
  fault.setAttribute("role", "alert");
  fault.textContent = text;
}
