"use strict";
// Strip plots whose points lead to the runs' reports, and a table that sorts and filters.

const runs = JSON.parse(document.getElementById("runs").textContent);
const said = document.getElementById("said");
const rows = new Map(
  Array.from(document.querySelectorAll(".sortable tbody tr"), (row) => [Number(row.dataset.run), row]),
);
const points = runs.map(() => []);

function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

function ticks(low, high) {
  const raw = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) {
    found.push(Number((k * step).toPrecision(10)));
  }
  return found;
}

// Rows for points on a line so that they hide each other as little as may be.
function swarm(places, radius, most) {
  const ends = [];
  return places.map((x) => {
    let row = ends.findIndex((end) => x - end >= 2 * radius);
    if (row === -1) {
      row = ends.length < most ? ends.length : ends.indexOf(Math.min(...ends));
    }
    ends[row] = x;
    return row % 2 ? (row + 1) / 2 : -row / 2;
  });
}

function choose(index) {
  for (const [other, marks] of points.entries()) {
    for (const mark of marks) mark.classList.toggle("chosen", other === index);
    rows.get(other).classList.toggle("chosen", other === index);
  }
}

function drawStrip(figure) {
  const column = figure.dataset.column;
  const digits = Number(figure.dataset.digits);
  const title = figure.querySelector("figcaption").textContent;
  const plot = figure.querySelector(".plot");
  const given = runs
    .map((run, index) => ({ index, run, value: run.numbers[column] }))
    .filter((one) => one.value !== null)
    .sort((a, b) => a.value - b.value);
  if (given.length === 0) {
    plot.textContent = "No run has this number.";
    return;
  }
  const wide = Math.max(plot.clientWidth, 280);
  const tall = 118;
  const side = 22;
  const middle = 48;
  const values = given.map((one) => one.value);
  const reach = Math.max(values.at(-1) - values[0], Math.abs(values.at(-1)) * 0.05, 0.05);
  // a share or a length starts at nothing; a gain has no such place
  const low = column === "tsnr_gain" ? values[0] - 0.05 * reach : 0;
  const high = values.at(-1) + 0.05 * reach;
  const x = (value) => side + ((value - low) / (high - low)) * (wide - 2 * side);
  const radius = given.length > 300 ? 3 : 5;
  const space = svg("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "group", "aria-label": title });
  for (const tick of ticks(low, high)) {
    svg("line", { class: "tick", x1: x(tick), x2: x(tick), y1: 4, y2: 94 }, space);
    svg("text", { x: x(tick), y: 111 }, space).textContent = String(tick);
  }
  const half = values[Math.floor((values.length - 1) / 2)] + values[Math.ceil((values.length - 1) / 2)];
  svg("line", { class: "median", x1: x(half / 2), x2: x(half / 2), y1: 4, y2: 94 }, space);
  const most = Math.floor(84 / (1.8 * radius));
  const heights = swarm(values.map(x), radius, most);
  const marks = given.map(({ index, run, value }, place) => {
    const text = `${run.name}: ${title} ${value.toFixed(digits)}`;
    const link = svg("a", { href: run.href, tabindex: place === 0 ? 0 : -1, "aria-label": text }, space);
    svg("circle", { cx: x(value), cy: middle + heights[place] * 1.8 * radius, r: radius }, link);
    svg("title", {}, link).textContent = text;
    const show = () => {
      choose(index);
      said.textContent = text;
    };
    link.addEventListener("pointerenter", show);
    link.addEventListener("focus", show);
    points[index].push(link);
    return link;
  });
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  space.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    const from = marks.indexOf(document.activeElement);
    const to = Math.min(Math.max(from + steps[event.key], 0), marks.length - 1);
    if (from !== -1) marks[from].setAttribute("tabindex", "-1");
    marks[to].setAttribute("tabindex", "0");
    marks[to].focus();
    event.preventDefault();
  });
  plot.replaceChildren(space);
}

function drawStrips() {
  points.forEach((marks) => marks.splice(0));
  document.querySelectorAll(".strip").forEach(drawStrip);
  filter();
}

const search = document.getElementById("filter");
function filter() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  runs.forEach((run, index) => {
    const fits = run.name.toLowerCase().includes(wanted);
    rows.get(index).hidden = !fits;
    for (const mark of points[index]) mark.classList.toggle("faded", !fits);
    shown += fits;
  });
  document.getElementById("count").textContent = `${shown} of ${runs.length}`;
}
search.addEventListener("input", filter);

function cell(row, place) {
  const text = row.cells[place].textContent.trim();
  return place === 0 ? text : Number(text); // what is not a number sorts last
}

const names = new Intl.Collator(undefined, { numeric: true });
document.querySelectorAll(".sortable thead th").forEach((head, place) => {
  head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll(".sortable thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const sorted = Array.from(rows.values()).sort((a, b) => {
      const [one, two] = [cell(a, place), cell(b, place)];
      if (place === 0) return sign * names.compare(one, two);
      if (Number.isNaN(one) || Number.isNaN(two)) return Number.isNaN(one) - Number.isNaN(two);
      return sign * (one - two);
    });
    document.querySelector(".sortable tbody").append(...sorted);
  });
});

let waiting = null;
window.addEventListener("resize", () => {
  window.clearTimeout(waiting);
  waiting = window.setTimeout(drawStrips, 150);
});
drawStrips();
