// What any page is made of: sections, choices and lists. What they say is the matter of the report's own script.

// Data comes from outside: it becomes text nodes and numbers, never markup.
const figures = JSON.parse(document.getElementById("figures").textContent);
const series = JSON.parse(document.getElementById("series").textContent);
const main = document.getElementById("report");

function section(title, says, ...children) {
  return html("section", {}, html("h2", {}, title), html("p", { class: "says" }, says), ...children);
}

function half(title, says, ...children) {
  return html("div", {}, html("h3", {}, title), html("p", { class: "says" }, says), ...children);
}

function pair(title, ...halves) {
  const box = html("div", { class: "pair" }, ...halves);
  return html("section", {}, html("h2", {}, title), html("p", { class: "says" }), box);
}

function tile(name, value, note) {
  return html(
    "div",
    { class: "tile" },
    html("div", { class: "name" }, name),
    html("div", { class: "value" }, value),
    html("div", { class: "note" }, note),
  );
}

/** Buttons of which one is chosen. `options`: {key: label}; `chosen(key)` is called at once and on every click. */
function choose(label, options, first, chosen, isEmpty = () => false) {
  const group = html("div", { class: "choice", role: "group", "aria-label": label });
  for (const [key, text] of Object.entries(options)) {
    const button = html("button", { type: "button", "aria-pressed": String(key === first) }, text);
    button.disabled = isEmpty(key);
    button.addEventListener("click", () => {
      for (const each of group.children) each.setAttribute("aria-pressed", String(each === button));
      chosen(key);
    });
    group.append(button);
  }
  chosen(first);
  return group;
}

/** A chart that can be switched between options. */
function switched(label, options, draw) {
  const host = html("div");
  const first = Object.keys(options)[0];
  return [html("div", { class: "controls" }, choose(label, options, first, (key) => host.replaceChildren(draw(key)))), host];
}

const details = (title, content) => html("details", {}, html("summary", {}, title), content);

/** Names and values, whatever they are. */
function list(entries) {
  const read = (value) => (value === null || typeof value !== "object" ? String(value) : JSON.stringify(value));
  return html("dl", {}, ...Object.entries(entries).flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, read(value))]));
}
