// A list of any length: only the items in view are in the document.

const MOST_PIXELS = 12_000_000; // browsers draw no taller element
const GAP = 12; // pixels between items
const WIDTH = 172; // least width of an item of the grid
const AHEAD = 2; // lines of items above and below those in view

class ItemList {
  constructor(box, { open, ticked }) {
    this.box = box;
    this.layer = box.firstElementChild;
    this.rows = new Uint32Array(0);
    this.items = new Map(); // position -> element
    this.active = 0;
    this.isGrid = true;
    this.open = open;
    this.ticked = ticked;
    box.addEventListener("scroll", () => this.drawSoon());
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => this.click(event));
    box.addEventListener("focus", () => this.markActive());
    new ResizeObserver(() => this.measure()).observe(box);
  }

  // Show other rows, from the top.
  show(rows) {
    this.rows = rows;
    this.active = 0;
    this.box.scrollTop = 0;
    this.measure();
  }

  // Fit lines to the width of the box.
  measure() {
    const width = this.box.clientWidth - 2 * GAP;
    this.perLine = this.isGrid ? Math.max(2, Math.floor((width + GAP) / (WIDTH + GAP))) : 1;
    this.itemWidth = (width - GAP * (this.perLine - 1)) / this.perLine;
    this.lineHeight = this.isGrid ? Math.round(this.itemWidth) + 98 + GAP : 64 + GAP;
    this.lines = Math.ceil(this.rows.length / this.perLine);
    const pixels = this.lines * this.lineHeight + 2 * GAP;
    this.layer.style.height = `${Math.min(pixels, MOST_PIXELS)}px`;
    this.box.classList.toggle("grid", this.isGrid);
    this.redraw();
  }

  // Draw every item again, because what it shows has changed.
  redraw() {
    for (const item of this.items.values()) item.remove();
    this.items.clear();
    this.draw();
  }

  drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  // Pixels by which the lines are above their place in a list that is taller than a browser draws.
  offset() {
    const real = this.lines * this.lineHeight + 2 * GAP - this.box.clientHeight;
    const drawn = this.layer.offsetHeight - this.box.clientHeight;
    return real > drawn && drawn > 0 ? (this.box.scrollTop / drawn) * (real - drawn) : 0;
  }

  draw() {
    const offset = this.offset();
    const top = this.box.scrollTop + offset;
    const first = Math.max(0, Math.floor(top / this.lineHeight) - AHEAD) * this.perLine;
    const end = (Math.ceil((top + this.box.clientHeight) / this.lineHeight) + AHEAD) * this.perLine;
    const last = Math.min(this.rows.length, end);
    const free = [];
    for (const [position, item] of this.items) {
      if (position < first || position >= last) {
        this.items.delete(position);
        free.push(item);
      }
    }
    for (let position = first; position < last; position++) {
      if (!this.items.has(position)) this.place(position, free.pop() ?? this.layer.appendChild(makeItem()));
    }
    for (const item of free) item.remove();
    for (const [position, item] of this.items) this.move(position, item, offset);
    this.markActive();
  }

  place(position, item) {
    this.items.set(position, item);
    item.id = `item-${position}`;
    item.setAttribute("aria-posinset", position + 1);
    item.setAttribute("aria-setsize", this.rows.length);
    paintItem(item, this.rows[position]);
  }

  move(position, item, offset) {
    const [line, across] = [Math.floor(position / this.perLine), position % this.perLine];
    const [x, y] = [GAP + across * (this.itemWidth + GAP), GAP + line * this.lineHeight - offset];
    item.style.transform = `translate(${x}px, ${y}px)`;
    item.style.width = `${this.itemWidth}px`;
    item.style.height = `${this.lineHeight - GAP}px`;
  }

  markActive() {
    for (const [position, item] of this.items) item.classList.toggle("active", position === this.active);
    if (this.items.has(this.active)) this.box.setAttribute("aria-activedescendant", `item-${this.active}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  // Make an item the active one, and bring it into view.
  activate(position) {
    this.active = Math.max(0, Math.min(this.rows.length - 1, position));
    const line = Math.floor(this.active / this.perLine);
    const [top, bottom] = [line * this.lineHeight, (line + 1) * this.lineHeight + GAP];
    const shown = this.box.scrollTop + this.offset();
    if (top < shown) this.scrollTo(top);
    else if (bottom > shown + this.box.clientHeight) this.scrollTo(bottom - this.box.clientHeight);
    this.draw();
  }

  scrollTo(top) {
    const real = this.lines * this.lineHeight + 2 * GAP - this.box.clientHeight;
    const drawn = this.layer.offsetHeight - this.box.clientHeight;
    this.box.scrollTop = real > drawn ? (top / real) * drawn : top;
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.lineHeight)) * this.perLine;
    const steps = {
      ArrowDown: this.perLine,
      ArrowUp: -this.perLine,
      ArrowRight: 1,
      ArrowLeft: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
    if (event.key in steps) this.activate(this.active + steps[event.key]);
    else if (event.key === " ") this.tick(this.active);
    else if (event.key === "Enter") this.open(this.active);
    else return;
    event.preventDefault();
  }

  click(event) {
    const item = event.target.closest(".item");
    if (!item) return;
    this.active = Number(item.id.slice("item-".length));
    this.markActive();
    if (event.target.closest(".tick")) this.tick(this.active);
    else this.open(this.active);
  }

  tick(position) {
    this.ticked(this.rows[position]);
    const item = this.items.get(position);
    if (item) paintItem(item, this.rows[position]);
  }
}
