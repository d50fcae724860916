// Elements made by hand: what comes from an image, a container or a user only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("div.row.dim", {title: "…"}, "text", otherElement). */
export function h(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  return fill(document.createElement(tag || "div"), classes, attributes, children);
}

/** The same for SVG. */
export function s(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SHAPES = {
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  copy: "M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z",
  again: "M13 5.5A5.5 5.5 0 1 0 13.5 9M13.5 2.5v3h-3",
  sort: "M3 4.5h10M5 8h6M7 11.5h2",
  folder: "M2 4.5v8h12v-7H8L6.5 3.5H2z",
  file: "M4 2v12h8V5L9 2zM9 2v3h3",
  link: "M4 2v12h8V5L9 2zM6 11V8.5h3.5M8 6.8l1.8 1.7L8 10.2",
};

/** A drawing of 14 pixels that takes the colour of the text; it says nothing to a screen reader. */
export function icon(name) {
  return s("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: SHAPES[name] }));
}

/** Bytes in powers of 1000, as image sizes are told: 12.4 MB. */
export function bytes(count) {
  let unit = 0;
  while (count >= 999.5 && unit < 4) [count, unit] = [count / 1000, unit + 1];
  return `${unit && count < 99.95 ? trim(count.toFixed(count < 9.995 ? 2 : 1)) : Math.round(count)}\u00a0${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

/** Bytes in powers of 1024, as memory is told: 31.2 MiB. */
export function memory(count) {
  let unit = 0;
  while (count >= 1023.5 && unit < 4) [count, unit] = [count / 1024, unit + 1];
  return `${unit && count < 99.95 ? trim(count.toFixed(1)) : Math.round(count)}\u00a0${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function trim(text) {
  return text.replace(/\.?0+$/, "");
}

/** A growth: +1.2 MB, −300 kB, 0 B; the minus sign is as wide as the plus. */
export function signed(count) {
  return (count > 0 ? "+" : count < 0 ? "\u2212" : "") + bytes(Math.abs(count));
}

/** A part of a whole, never rounded up to all of it: 98.4 %. */
export function percent(share, digits = 1) {
  const scale = 100 * 10 ** digits;
  const whole = share < 1 ? Math.min(Math.round(share * scale), scale - 1) : Math.round(share * scale);
  return `${whole / 10 ** digits}\u00a0%`;
}

export function count(number) {
  return number.toLocaleString("en");
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)}\u00a0${number === 1 ? one : many}`;
}

/** Seconds as people say them: 40 ms, 2.31 s, 1 min 5 s. */
export function seconds(time) {
  if (time < 0.9995) return `${Math.round(time * 1000)}\u00a0ms`;
  if (time < 60) return `${time.toFixed(time < 10 ? 2 : 1)}\u00a0s`;
  const whole = Math.round(time);
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
  return `${Math.floor(whole / 3600)}\u00a0h ${Math.floor((whole % 3600) / 60)}\u00a0min`;
}

/** Lines of runs [style, text] as a program wrote them. */
export function output(lines) {
  return lines.map((runs, index) => [
    index ? "\n" : null,
    ...runs.map(([style, text]) =>
      style ? h("span", { class: style.replace(/\b(\d+)\b/, "c$1") }, text) : document.createTextNode(text),
    ),
  ]).flat();
}

/** Where an arrow key leads in a list of some length, or null if the key is none of a list's. */
export function moved(key, from, length) {
  const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: length - 1, PageDown: from + 10, PageUp: from - 10 }[key];
  return to === undefined ? null : Math.max(0, Math.min(length - 1, to));
}

/** The widget's outermost element. */
export function frame(el, name, label) {
  const root = h(`div.nbc.${name}`, { role: "group", "aria-label": label });
  el.replaceChildren(root);
  return root;
}

/** Note, for those who measure, how long it was from an instant to the end of the next frame that is painted. */
export function painted(name, began) {
  requestAnimationFrame(() => setTimeout(() => performance.measure(`nbcontainers:${name}`, { start: began })));
}

/**
 * What is kept for a widget beside its traits, shared by all its views; made by `make` when it is first asked for.
 * Each view is given a model object of its own, so it is the widget's key that tells them to be one. `forget` drops it.
 */
export function kept(model, make) {
  const all = (globalThis[Symbol.for("nbcontainers")] ??= new Map());
  const key = model.get("key");
  if (!all.has(key)) all.set(key, make());
  return all.get(key);
}

/** Send a message to the kernel; false where it is gone, and with it the way there. */
export function sent(model, message) {
  try {
    model.send(message);
    return true;
  } catch {
    return false;
  }
}

export function forget(model) {
  globalThis[Symbol.for("nbcontainers")]?.delete(model.get("key"));
}
