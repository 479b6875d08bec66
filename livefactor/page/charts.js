"use strict";

// Charts: how numbers become SVG. What they mean is the matter of the report's own script.

// Elements

const SVG = document.getElementById("drawing").namespaceURI;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Numbers in words

const whole = (value) => (Math.round(value) || 0).toLocaleString("en-US");
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
const known = (value) => value !== null && value !== undefined;
const inWords = (format) => (value) => (known(value) ? format(value) : "–");
const FORMATS = {
  score: inWords((value) => value.toFixed(4)),
  share: inWords((value) => percent(value)),
  rate: inWords(whole),
  weight: inWords((value) => value.toPrecision(3)),
};

function axisFormat(format, step) {
  const digits = (scale) => Math.max(0, -Math.floor(Math.log10(step * scale) + 1e-9));
  if (format === "share") return (value) => percent(value, digits(100));
  if (format === "rate") return (value) => (step < 1e6 ? whole(value) : value.toLocaleString("en-US", { notation: "compact" }));
  return (value) => value.toFixed(digits(1));
}

function day(milliseconds) {
  const date = new Date(milliseconds);
  return milliseconds > 0 && !Number.isNaN(date.getTime()) ? date.toISOString().slice(0, 10) : null;
}

/** About `count` round numbers between `low` and `high`, whole ones if `format` shows no others. */
function ticks(low, high, count, format) {
  const least = Math.max((high - low) / count, format === "rate" ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= least * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return { step, values: found };
}

// Axes, curves and what the pointer finds

const MARGIN = { top: 10, right: 14, bottom: 38, left: 56 };
const redraw = new WeakMap();
const resized = new ResizeObserver((entries) =>
  requestAnimationFrame(() => entries.forEach((entry) => redraw.get(entry.target)())),
);

/** Draw what is new on the page now, without waiting for a frame that a page nobody looks at may never get. */
const drawPlots = () => document.querySelectorAll(".plot").forEach((box) => redraw.get(box)());

/** A box that draws itself at every width. `draw(width)` returns an SVG element. */
function plotBox(label, draw) {
  const box = html("div", { class: "plot" });
  let width = 0;
  redraw.set(box, () => {
    if (box.clientWidth === width || !box.clientWidth) return;
    width = box.clientWidth;
    box.querySelector("svg")?.remove();
    const drawn = draw(width, box);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", label);
    box.prepend(drawn);
    light(box, box.dataset.lit);
  });
  resized.observe(box);
  return box;
}

const emptyBox = (text) => html("div", { class: "empty" }, text);

/** Scales from `x` and `y`, each [low, high], to pixels, and an SVG with their axes. */
function axes(width, height, x, y, spec) {
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const toX = (value) => MARGIN.left + ((value - x[0]) / (x[1] - x[0])) * (right - MARGIN.left);
  const toY = (value) => bottom - ((value - y[0]) / (y[1] - y[0])) * (bottom - MARGIN.top);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, tabindex: "0" });
  const vertical = ticks(y[0], y[1], 5, spec.format);
  const yText = axisFormat(spec.format, vertical.step);
  for (const value of vertical.values) {
    drawing.append(svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: toY(value), y2: toY(value) }));
    drawing.append(svg("text", { x: MARGIN.left - 8, y: toY(value) + 4, "text-anchor": "end" }, yText(value)));
  }
  const horizontal = ticks(x[0], x[1], Math.max(2, Math.floor(width / 90)), spec.xFormat);
  const xText = axisFormat(spec.xFormat, horizontal.step);
  for (const value of horizontal.values) {
    const anchor = toX(value) > right - 24 ? "end" : "middle";
    drawing.append(svg("text", { x: toX(value), y: bottom + 17, "text-anchor": anchor }, xText(value)));
  }
  const middle = (MARGIN.left + right) / 2;
  drawing.append(svg("text", { x: middle, y: height - 3, "text-anchor": "middle" }, spec.xLabel));
  return { drawing, toX, toY, right, bottom };
}

function extent(values, zero) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (zero) low = Math.min(low, 0);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [zero && low === 0 ? 0 : low - room, high + room];
}

/** Curve through the known points; a point alone becomes a dot. */
function curve(line, toX, toY) {
  const group = svg("g");
  let run = [];
  const end = () => {
    const [only] = run;
    if (run.length === 1) group.append(svg("circle", { class: `dot ${line.role}`, cx: only[0], cy: only[1], r: 3.5 }));
    const path = `M${run.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
    if (run.length > 1) group.append(svg("path", { class: `curve ${line.role}`, d: path }));
    run = [];
  };
  line.y.forEach((value, n) => (known(value) ? run.push([toX(line.x[n]), toY(value)]) : end()));
  end();
  for (const part of group.children) part.dataset.name = line.name;
  return group;
}

/**
 * Curves over the stream, with what the pointer, or the arrow keys, point at.
 *
 * `lines`: {name, role, x, y}; all have the same x. `format`: how values read; `zero`: the axis begins there;
 * `marks`: {x, name}, where something happened.
 */
function lineChart(label, lines, { format, zero = true, height = 290, xLabel = "event in the stream", marks = [] }) {
  const values = lines.flatMap((line) => line.y.filter(known));
  if (!values.length) return emptyBox("Nothing to show: no event of this kind was scored.");
  const stops = lines[0].x;
  const spec = { format, xFormat: "rate", xLabel };
  const host = html("div");
  const box = plotBox(label, (width, within) => {
    const x = stops.length > 1 ? [stops[0], stops.at(-1)] : [stops[0] - 1, stops[0] + 1];
    const area = axes(width, height, x, extent(values, zero), spec);
    const seen = marks.filter((mark) => mark.x >= x[0] && mark.x <= x[1]).sort((one, other) => one.x - other.x);
    seen.forEach((mark, n) => area.drawing.append(...marked(mark, n, area)));
    const order = [...lines].sort((one, other) => depth(one) - depth(other));
    for (const line of order) area.drawing.append(curve(line, area.toX, area.toY));
    follow(area, within, lines, FORMATS[format], width);
    return area.drawing;
  });
  host.append(box, legend(box, lines));
  return host;
}

/** A line at a place of the abscissa, with its name beside it, lower than that of the mark before it. */
function marked({ x, name }, n, { toX, right, bottom }) {
  const at = toX(x);
  const side = at > right - 110 ? { x: at - 5, "text-anchor": "end" } : { x: at + 5, "text-anchor": "start" };
  return [
    svg("line", { class: "mark", x1: at, x2: at, y1: MARGIN.top, y2: bottom }),
    svg("text", { class: "mark", y: MARGIN.top + 12 + 15 * (n % 3), ...side }, name),
  ];
}

/** What is drawn last lies on top. */
const depth = (line) => ({ muted: 0, live: 2 })[line.role] ?? 1;

function follow(area, box, lines, text, width) {
  const stops = lines[0].x;
  const cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: area.bottom, visibility: "hidden" });
  area.drawing.append(cursor);
  box.querySelector(".tip")?.remove();
  const tip = html("div", { class: "tip", hidden: "" });
  box.append(tip);
  let at = -1;
  const show = (index) => {
    at = Math.max(0, Math.min(stops.length - 1, index));
    const x = area.toX(stops[at]);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
    cursor.setAttribute("visibility", "visible");
    tip.replaceChildren(html("div", { class: "soft" }, `event ${whole(stops[at])}`), ...tipRows(lines, at, text));
    tip.hidden = false;
    const beyond = x + 14 + tip.offsetWidth > width;
    tip.style.left = `${Math.max(0, beyond ? x - 14 - tip.offsetWidth : x + 14)}px`;
  };
  const hide = () => {
    at = -1;
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  };
  area.drawing.addEventListener("pointermove", (event) => {
    const x = event.clientX - area.drawing.getBoundingClientRect().left;
    show(nearest(stops.map(area.toX), x));
  });
  area.drawing.addEventListener("pointerleave", hide);
  area.drawing.addEventListener("blur", hide);
  area.drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at < 0 ? (step > 0 ? 0 : stops.length - 1) : at + step);
  });
}

function nearest(places, wanted) {
  let best = 0;
  places.forEach((place, n) => {
    if (Math.abs(place - wanted) < Math.abs(places[best] - wanted)) best = n;
  });
  return best;
}

function tipRows(lines, at, text) {
  const found = lines.filter((line) => known(line.y[at])).sort((one, other) => other.y[at] - one.y[at]);
  return found.map((line) =>
    html(
      "div",
      { class: `row ${line.role}` },
      html("span", { class: line.role }, html("span", { class: "swatch" }), line.name),
      html("span", {}, text(line.y[at])),
    ),
  );
}

/** Bring out the curve of one name, or with none all alike. */
function light(box, name = "") {
  box.dataset.lit = name;
  box.classList.toggle("one-lit", name !== "");
  for (const part of box.querySelectorAll("[data-name]")) part.classList.toggle("lit", part.dataset.name === name);
}

/** Names of the curves; pointing at one brings its curve out, clicking keeps it so. */
function legend(box, lines) {
  let pinned = "";
  const buttons = lines.map((line) => {
    const button = html("button", { type: "button", class: line.role, "aria-pressed": "false" });
    button.append(html("span", { class: "swatch" }), line.name);
    button.addEventListener("click", () => {
      pinned = pinned === line.name ? "" : line.name;
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button && pinned !== ""));
      light(box, pinned);
    });
    button.addEventListener("pointerenter", () => light(box, line.name));
    button.addEventListener("pointerleave", () => light(box, pinned));
    return button;
  });
  return html("div", { class: "legend" }, ...buttons);
}

/** Bars with 95 % intervals. `rows`: {name, role, value, between}, or {heading}. */
function barChart(rows, text) {
  const longest = Math.max(...rows.flatMap((row) => [row.value ?? 0, row.between?.[1] ?? 0])) || 1;
  const part = (value) => `${((100 * value) / longest).toFixed(2)}%`;
  const cells = rows.flatMap((row) => {
    if (row.heading) return [html("div", { class: "heading" }, row.heading)];
    const track = html("div", { class: "track" });
    if (known(row.value)) track.append(html("div", { class: `bar ${row.role}`, style: `width: ${part(row.value)}` }));
    if (row.between) {
      const [low, high] = row.between;
      const place = `left: ${part(low)}; width: ${part(high - low)}`;
      track.append(html("div", { class: "between", style: place, title: between(row.between, text) }));
    }
    return [html("div", { class: `name ${row.role}` }, row.name), track, html("div", {}, text(row.value))];
  });
  return html("div", { class: "bars" }, ...cells);
}

const between = (interval, text) => `95 % between ${text(interval[0])} and ${text(interval[1])}`;
