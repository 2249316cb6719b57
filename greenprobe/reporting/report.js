"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const count = (n) => n.toLocaleString("en");
const bytes = (n) => { const units = ["B", "kB", "MB", "GB", "TB"]; let u = 0;
  while (n >= 1000 && u < 4) { n /= 1000; u++; } return `${n < 10 && u ? n.toFixed(1) : Math.round(n)} ${units[u]}`; };
const seconds = (s) => s < 0.001 ? `${Math.round(s * 1e6)} µs` : s < 1 ? `${+(s * 1000).toPrecision(3)} ms` : `${+s.toPrecision(3)} s`;

// Text goes in as text: nothing in the data is ever markup.
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  return element;
}
function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function nothing(place, words) { place.append(make("p", words, "none")); }

byId("source").textContent = data.source + (data.broken_lines ? ` (${count(data.broken_lines)} lines are no results)` : "");

function tiles(cells) {
  for (const [value, name] of cells) {
    const tile = make("div", null, "panel tile");
    tile.append(make("b", value), make("span", name));
    byId("tiles").append(tile);
  }
}

function bars(place, rows, classOf) {
  if (!rows.length) return nothing(place, "none");
  const most = Math.max(...rows.map((row) => row[1]));
  for (const [name, number, examples = []] of rows) {
    const bar = make("div", null, "bar"), track = make("div", null, "track"), fill = make("div", null, "fill " + classOf(name));
    fill.style.width = `${Math.max(0.5, 100 * number / most)}%`;
    track.append(fill);
    const label = make("span", name, "name"); label.title = name;
    bar.append(label, track, make("span", count(number), "count"));
    if (!examples.length) { place.append(bar); continue; }
    const details = make("details"), summary = make("summary");
    summary.append(bar);
    details.append(summary, ...examples.map(([url, message]) => make("p", `${url}: ${message}`, "example")));
    place.append(details);
  }
}
