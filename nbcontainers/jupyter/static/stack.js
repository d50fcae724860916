// The layers of an image: a strip of strata, a list to walk through, and what the chosen layer holds.

import { bytes, count, h, icon, moved, percent } from "./dom.js";

/** Draw a stack into an element and return the function that tells which layer is chosen. */
export function drawStack(root, stack, { named = true, chosen = -1, onchoose = () => {} } = {}) {
  const layers = stack.layers;
  const most = Math.max(1, ...layers.map((layer) => layer.size));
  let current = chosen >= 0 && chosen < layers.length ? chosen : largest(layers);

  const strata = h("div.strata", { "aria-hidden": "true" }, layers.map(stratum));
  const rows = layers.map(row);
  const list = h(
    "div.rows.scroll",
    { role: "listbox", tabindex: "0", "aria-label": "Layers from the base up", "data-lm-suppress-shortcuts": "true", onkeydown: key },
    rows,
  );
  const details = h("div.details.scroll", { role: "group", "aria-label": "The chosen layer", tabindex: "0" });
  root.append(
    heading(stack, named),
    layers.length ? strata : null,
    layers.length
      ? h(stack.wasted ? "div.halves" : "div.halves.tight", {}, h("div.list", {}, titles(), list), details)
      : h("div.empty", {}, "This image has no layers: it was built from scratch and holds nothing."),
  );
  if (layers.length) choose(current, false);
  requestAnimationFrame(reveal);

  function stratum(layer, index) {
    const part = layer.size / Math.max(1, stack.size);
    if (!layer.diffId || !layer.size) return null;
    return h("span.stratum", {
      "data-index": index,
      style: { "flex-grow": String(Math.max(part, 0.004)), "--depth": String((index % 5) / 5) },
      title: `${layer.number}  ${layer.instruction}  ${bytes(layer.size)}`,
      onclick: () => choose(index),
    });
  }

  function row(layer, index) {
    const spoken = layer.diffId
      ? `Layer ${layer.number}: ${layer.instruction}, ${bytes(layer.size)}, ${bytes(layer.stored)} stored, ${changes(layer)}` +
        (layer.wasted ? `, ${bytes(layer.wasted)} wasted` : "")
      : `Step ${layer.number}: ${layer.instruction}, no layer`;
    return h(
      "div.row",
      {
        class: layer.diffId ? "row" : "row bare",
        role: "option",
        "aria-label": spoken,
        "aria-selected": "false",
        onclick: () => choose(index),
      },
      h("span.number.num.dim", {}, String(layer.number)),
      instruction(layer.instruction),
      ...(layer.diffId
        ? [
            bar(layer, most),
            h("span.size.num", { class: layer.size ? "size num" : "size num dim" }, bytes(layer.size)),
            h("span.stored.num.dim", {}, bytes(layer.stored)),
            marks(layer),
            h("span.wasted.num", { class: layer.wasted ? "wasted num warn" : "wasted num dim" }, layer.wasted ? bytes(layer.wasted) : "\u2013"),
          ]
        : [h("span.none.dim", {}, "settings only")]),
    );
  }

  function key(event) {
    const to = moved(event.key, current, layers.length);
    if (to === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(to);
  }

  /** Bring the chosen layer into view, within the list only: the notebook itself must not jump. */
  function reveal() {
    if (!rows.length) return;
    const { offsetTop: top, offsetHeight: height } = rows[current];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
  }

  function choose(index, tell = true) {
    rows[current].setAttribute("aria-selected", "false");
    current = index;
    const chosenRow = rows[index];
    chosenRow.setAttribute("aria-selected", "true");
    if (!chosenRow.id) chosenRow.id = `nbc-${Math.random().toString(36).slice(2)}`;
    list.setAttribute("aria-activedescendant", chosenRow.id);
    for (const part of strata.children) part.classList.toggle("chosen", Number(part.dataset.index) === index);
    if (tell) {
      reveal();
      onchoose(index);
    }
    details.replaceChildren(...about(layers[index], stack));
    details.scrollTop = 0;
  }
}

function largest(layers) {
  return layers.reduce((best, layer, index) => (layer.size > layers[best].size ? index : best), 0);
}

function heading(stack, named) {
  const made = stack.layers.filter((layer) => layer.diffId).length;
  return h(
    "div.head",
    {},
    named ? h("span.title", {}, stack.name) : null,
    h("span.dim", {}, h("code", {}, stack.id.slice(7, 19)), ` · ${stack.platform}`),
    h(
      "span.figures.num.dim",
      {},
      h("span", {}, h("b", {}, count(made)), made === 1 ? " layer" : " layers"),
      h("span", {}, h("b", {}, bytes(stack.size)), " of files"),
      h("span", {}, h("b", {}, bytes(stack.stored)), " stored"),
      stack.wasted
        ? h("span", { title: "Bytes that later layers replace or remove" }, h("b.warn", {}, bytes(stack.wasted)), " wasted")
        : null,
      h(
        "span.score",
        { title: "How little of the image is stored twice or for nothing, as dive counts it" },
        ring(stack.efficiency),
        h("b", {}, percent(stack.efficiency)),
        " efficient",
      ),
    ),
  );
}

function ring(share) {
  const mood = share >= 0.95 ? "good" : share >= 0.8 ? "warn" : "bad";
  return h("span.ring", { class: `ring ${mood}`, "aria-hidden": "true", style: { "--share": String(share) } });
}

function titles() {
  const names = ["", "Instruction", "", "Size", "Stored", "Files", "Wasted"];
  const classes = ["number", "text", "bar-title", "size", "stored", "marks", "wasted"];
  return h("div.titles.dim", { "aria-hidden": "true" }, names.map((name, index) => h(`span.${classes[index]}`, {}, name)));
}

/** The instruction on one line, its keyword set apart. */
export function instruction(text) {
  const [, word, rest] = text.match(/^([A-Z]{2,})(\s[\s\S]*)?$/) || [null, "", text];
  return h("code.text.cut", { title: text }, word ? h("span.keyword", {}, word) : null, (rest || "").replace(/(\\?\s)+/g, " "));
}

function bar(layer, most) {
  const whole = Math.max((layer.size / most) * 100, layer.size ? 1.5 : 0);
  const lost = layer.size ? (layer.wasted / layer.size) * 100 : 0;
  return h(
    "span.bar",
    {},
    h("span.fill", { style: { width: `${whole}%` } }, lost ? h("span.lost", { style: { width: `${lost}%` } }) : null),
  );
}

function marks(layer) {
  const each = [
    ["added", "+", "good", "added"],
    ["modified", "~", "warn", "changed"],
    ["deleted", "\u2212", "bad", "removed"],
  ];
  return h(
    "span.marks.num",
    {},
    each.map(([key, sign, mood, word]) =>
      layer[key] ? h(`span.${mood}`, { title: `${count(layer[key])} ${word}` }, sign + short(layer[key])) : null,
    ),
  );
}

function short(number) {
  return number < 10000 ? count(number) : `${Math.round(number / 1000)}k`;
}

function changes(layer) {
  const told = [
    [layer.added, "added"],
    [layer.modified, "changed"],
    [layer.deleted, "removed"],
  ].filter(([number]) => number);
  return told.length ? told.map(([number, word]) => `${count(number)} ${word}`).join(", ") : "no files";
}

function about(layer, stack) {
  const fact = (name, ...value) => [h("dt.dim", {}, name), h("dd.num", {}, ...value)];
  if (!layer.diffId)
    return [
      h("div.cap", {}, `Step ${layer.number} of ${stack.layers.length}`),
      h("pre.whole", {}, layer.instruction),
      h("p.dim", {}, "It changed the image’s settings and made no layer."),
    ];
  const files = layer.largest;
  const most = files.length ? Math.max(1, files[0].size) : 1;
  return [
    h("div.cap", {}, `Layer ${layer.number} of ${stack.layers.length}`),
    h("pre.whole", {}, layer.instruction),
    h(
      "dl",
      {},
      fact("Size", bytes(layer.size), h("span.dim", {}, ` ${part(layer.size, stack.size)} of the image`)),
      fact("Stored", bytes(layer.stored), layer.size ? h("span.dim", {}, ` ${part(Math.min(layer.stored, layer.size), layer.size)} of its size`) : null),
      fact("Files", changes(layer)),
      layer.wasted ? fact("Wasted", h("span.warn", {}, bytes(layer.wasted)), h("span.dim", {}, " replaced later")) : null,
      layer.sharedBy ? fact("Shared with", shared(layer)) : null,
      layer.digest ? fact("Digest", digest(layer.digest)) : null,
      fact("Diff ID", digest(layer.diffId)),
    ),
    files.length ? h("div.cap", {}, "Largest files") : null,
    files.length
      ? h(
          "ol.files",
          {},
          files.map((file) =>
            h(
              "li",
              { style: { "--part": `${(file.size / most) * 100}%` } },
              h("span.size.num", {}, bytes(file.size)),
              h("code", { title: file.path }, path(file.path)),
            ),
          ),
        )
      : null,
  ].filter(Boolean);
}

/** A share in whole percents, where a little is not nothing. */
function part(size, of) {
  return size && size * 200 < of ? "<\u202f1\u00a0%" : percent(size / Math.max(1, of), 0);
}

/** The other images that have the same layer. */
function shared(layer) {
  const left = layer.sharedBy - layer.sharedWith.length;
  return [layer.sharedWith.map((name, index) => h("div.sharer", {}, h("code", {}, name))), left ? h("div.dim", {}, `and ${count(left)} more`) : null].flat();
}

/** A path whose end stays readable when it is cut: the folder gives way, not the name. */
function path(text) {
  const cut = text.lastIndexOf("/") + 1;
  return [h("span.folder.dim", {}, text.slice(0, cut)), h("span.leaf", {}, text.slice(cut))];
}

function digest(text) {
  const [algorithm, hex] = text.split(":");
  const button = h(
    "button.digest",
    { type: "button", "aria-label": `Copy ${text}`, title: text, onclick: copy },
    h("code", {}, `${algorithm}:${hex.slice(0, 12)}…`),
    icon("copy"),
  );
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.lastChild.replaceWith(icon("check"));
    } catch {
      button.lastChild.replaceWith(icon("cross"));  // a page without a secure origin may not write there
    }
    setTimeout(() => button.lastChild.replaceWith(icon("copy")), 1200);
  }
  return button;
}

