// Draws the commanded action: one curve for each dimension, with a line that is now, and for arms
// a compass whose arrow points where the hand is told to go on the screen.

const NS = "http://www.w3.org/2000/svg";
const FEW = 8;

const draw = (parent, name, attributes) => {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  parent.append(element);
  return element;
};
const make = (parent, name, kind) => {
  const element = document.createElement(name);
  element.className = kind;
  parent.append(element);
  return element;
};
const number = (value) => {
  const digits = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
};
const spread = (values) => Math.max(...values) - Math.min(...values);

export class Lane {
  constructor({ lane, compass, more, texts, fill }, data, seek) {
    Object.assign(this, { data, texts, fill });
    this.last = Math.max(data.frames - 1, 1);
    const order = data.dims.map((_, place) => place);
    const busiest = [...order].sort((a, b) => spread(data.dims[b].values) - spread(data.dims[a].values));
    const few = new Set(busiest.slice(0, FEW));
    this.rows = order.map((place) => this.row(lane, data.dims[place], few.has(place)));
    const longest = Math.max(...data.dims.map((dim) => dim.name.length));
    lane.style.setProperty("--names", `${Math.min(longest, 18) * 0.55 + 0.9}rem`);
    this.now = make(lane, "div", "now");
    lane.setAttribute("role", "img");
    lane.setAttribute("aria-label", `${texts.commanded}: ${data.dims.map((dim) => dim.name).join(", ")}`);
    if (order.length > FEW) this.fold(lane, more, order.length);
    this.scrub(lane, seek);
    if (data.compass) this.compass = new Compass(compass, data, texts);
  }

  row(lane, dim, always) {
    const row = make(lane, "div", always ? "dim" : "dim spare");
    make(row, "span", "dim-name").textContent = dim.name;
    const svg = draw(row, "svg", { viewBox: "0 0 1000 40", preserveAspectRatio: "none", class: "curve-box" });
    const x = (frame) => (frame / this.last) * 1000;
    const y = (value) => 37 - 34 * value;
    if (this.data.context > 1) {
      draw(svg, "rect", { x: 0, y: 0, width: x(this.data.context - 1), height: 40, class: "given" });
    }
    const zero = -dim.low / (dim.high - dim.low);
    if (zero >= 0 && zero <= 1) draw(svg, "path", { d: `M0 ${y(zero)}H1000`, class: "zero" });
    const base = y(Math.min(Math.max(zero, 0), 1));
    const steps = dim.values.map((value, k) => `V${y(value).toFixed(1)}H${x(k + 1).toFixed(1)}`).join("");
    draw(svg, "path", { d: `M0 ${base}${steps}V${base}Z`, class: "area" });
    draw(svg, "path", { d: `M0 ${y(dim.values[0]).toFixed(1)}${steps}`, class: "curve" });
    return { dim, value: make(row, "span", "dim-value") };
  }

  fold(lane, more, count) {
    more.hidden = false;
    const set = (open) => {
      lane.classList.toggle("open", open);
      more.setAttribute("aria-expanded", String(open));
      more.textContent = this.fill(open ? this.texts.lane_less : this.texts.lane_more, { count: open ? FEW : count });
    };
    more.addEventListener("click", () => set(!lane.classList.contains("open")));
    set(false);
  }

  scrub(lane, seek) {
    const at = (pointer) => {
      const box = lane.querySelector(".curve-box").getBoundingClientRect();
      seek(Math.round(((pointer.clientX - box.left) / box.width) * this.last));
    };
    lane.addEventListener("pointerdown", (pointer) => {
      if (pointer.button !== 0) return;
      lane.setPointerCapture(pointer.pointerId);
      at(pointer);
    });
    lane.addEventListener("pointermove", (pointer) => {
      if (lane.hasPointerCapture(pointer.pointerId)) at(pointer);
    });
  }

  raw(dim, frame) {
    const value = dim.values[Math.min(frame, dim.values.length - 1)];
    return dim.low + value * (dim.high - dim.low);
  }

  show(frame) {
    this.now.style.setProperty("--at", String(frame / this.last));
    for (const { dim, value } of this.rows) {
      value.textContent = `${number(this.raw(dim, frame))} ${dim.unit}`.trim();
    }
    this.compass?.show(this.data.dims.map((dim) => this.raw(dim, frame)));
  }

  // The command at a frame in words, for those who hear the page; the few that matter first.
  describe(frame) {
    return this.rows.slice(0, FEW).map(({ dim }) => `${dim.name} ${number(this.raw(dim, frame))} ${dim.unit}`.trim()).join(", ");
  }
}

class Compass {
  constructor(holder, data, texts) {
    Object.assign(this, data.compass);
    this.opening = this.grip === null ? null : data.dims[this.grip];
    holder.hidden = false;
    const svg = draw(holder, "svg", { viewBox: "-50 -50 100 100", "aria-hidden": "true" });
    draw(svg, "circle", { r: 46, class: "ring" });
    draw(svg, "circle", { r: 23, class: "ring faint" });
    draw(svg, "path", { d: "M-46 0h6M40 0h6M0-46v6M0 40v6", class: "ring" });
    this.line = draw(svg, "path", { d: "M0 0h0", class: "needle" });
    this.head = draw(svg, "path", { d: "M0 0 -9 -6v12z", class: "needle-head" });
    draw(svg, "circle", { r: 3, class: "hub" });
    make(holder, "p", "compass-name").textContent = texts.compass;
    if (!this.opening) return;
    const grip = draw(holder, "svg", { viewBox: "-30 0 60 30", class: "grip", "aria-hidden": "true" });
    draw(grip, "path", { d: "M0 1v7", class: "finger" });
    this.bar = draw(grip, "path", { d: "M0 8h0", class: "finger" });
    this.fingers = [-1, 1].map(() => draw(grip, "path", { d: "M0 8v18", class: "finger" }));
    this.word = make(holder, "p", "compass-name");
    this.words = texts;
  }

  show(action) {
    const [x, y] = this.matrix.map((row) => row.reduce((sum, each, k) => sum + each * action[this.dims[k]], 0));
    const length = Math.hypot(x, y) / this.reach;
    const size = 44 * Math.min(Math.sqrt(length), 1); // small commands stay visible
    const [u, v] = length > 1e-6 ? [x / Math.hypot(x, y), y / Math.hypot(x, y)] : [1, 0];
    const drawn = size > 6;
    this.line.setAttribute("d", `M0 0L${u * Math.max(size - 8, 0)} ${v * Math.max(size - 8, 0)}`);
    this.line.setAttribute("visibility", drawn ? "visible" : "hidden");
    this.head.setAttribute("visibility", drawn ? "visible" : "hidden");
    this.head.setAttribute("transform", `translate(${u * size} ${v * size}) rotate(${(Math.atan2(v, u) * 180) / Math.PI})`);
    if (!this.opening) return;
    const { low, high } = this.opening;
    const open = (action[this.grip] - low) / (high - low || 1);
    const gap = 3 + 17 * open;
    this.bar.setAttribute("d", `M${-gap} 8H${gap}`);
    this.fingers.forEach((finger, k) => finger.setAttribute("transform", `translate(${k ? gap : -gap} 0)`));
    this.word.textContent = `${this.words.grip}: ${open > 0.5 ? this.words.grip_open : this.words.grip_closed}`;
  }
}
