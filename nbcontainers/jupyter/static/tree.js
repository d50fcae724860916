// A tree of files that is walked with the arrow keys and fetched as it is opened.

import { bytes, count, h, icon, moved, signed } from "./dom.js";

const MARK = { added: ["+", "good"], modified: ["~", "warn"], deleted: ["\u2212", "bad"] };
const WORD = { added: "added", modified: "changed", deleted: "removed" };

/** `fetch(folder, from)` gives {total, from, rows}; a row is [name, kind, what, growth, counts, sizes, folder]. */
export function drawTree({ fetch }) {
  const element = h("div.tree.scroll", {
    role: "tree",
    tabindex: "0",
    "aria-label": "Files that differ",
    "data-lm-suppress-shortcuts": "true",
    onkeydown: key,
    onclick: click,
  });
  const nodes = new WeakMap(); // row element -> {row, level, parent, open}
  let folders = new Map();
  let current = null;
  let most = 1;

  function show(held) {
    folders = new Map(Object.entries(held.folders));
    most = 1;
    for (const { rows } of folders.values()) for (const row of rows) most = Math.max(most, Math.abs(row[3]));
    element.replaceChildren(...rowsOf("0:0", 1, null));
    current = null;
    for (const line of [...element.children]) if (held.expanded.includes(nodes.get(line)?.row?.[6])) expandNow(line, held.expanded);
    if (element.firstElementChild) choose(element.firstElementChild, false);
    element.scrollTop = 0;
  }

  function expandNow(line, expanded) {
    const node = nodes.get(line);
    const added = rowsOf(node.row[6], node.level + 1, line);
    line.after(...added);
    node.open = true;
    line.setAttribute("aria-expanded", "true");
    for (const child of added) if (expanded.includes(nodes.get(child)?.row?.[6])) expandNow(child, expanded);
  }

  function rowsOf(folder, level, parent) {
    const { rows, total } = folders.get(folder);
    const lines = rows.map((row, place) => line(row, level, parent, place + 1, total));
    if (rows.length < total) lines.push(more(folder, level, parent, total - rows.length));
    return lines;
  }

  function line(row, level, parent, place, total) {
    const [name, kind, what, growth, counts, sizes, folder] = row;
    const [sign, mood] = kind ? MARK[kind] : ["", "dim"];
    const told = counts
      ? `${name}, folder, ${[["added", 0], ["changed", 1], ["removed", 2]].filter(([, index]) => counts[index]).map(([word, index]) => `${count(counts[index])} ${word}`).join(", ")}`
      : `${name}, ${WORD[kind]}${what ? `, ${what}` : ""}`;
    const element_ = h(
      "div.node",
      {
        class: folder ? "node holds" : "node",
        role: "treeitem",
        "aria-level": level,
        "aria-posinset": place,
        "aria-setsize": total,
        "aria-expanded": folder ? "false" : null,
        "aria-selected": "false",
        "aria-label": `${told}, ${signed(growth)}`,
        style: { "--level": String(level - 1) },
      },
      h("span.twist", {}, folder ? icon("right") : null),
      h(`span.mark.${mood}`, {}, sign),
      h("span.kind.dim", {}, icon(folder ? "folder" : what.startsWith("symlink") ? "link" : "file")),
      h("code.name.cut", { title: name, class: kind === "deleted" && !folder ? "name cut gone" : "name cut" }, slashed(name)),
      h("span.what.dim.cut", { title: what }, what),
      counts ? h("span.counts.num", {}, counts.map((number, index) => tally(number, index))) : h("span.counts.num.dim", {}, sizesText(sizes)),
      h("span.grow.bar", { "aria-hidden": "true" }, growth ? h("span.fill", { class: growth > 0 ? "fill" : "fill less", style: { width: `${Math.min(100, Math.max(2, (Math.abs(growth) / most) * 100))}%` } }) : null),
      h("span.growth.num", { class: growth ? "growth num" : "growth num dim" }, growth ? signed(growth) : "–"),
    );
    nodes.set(element_, { row, level, parent, open: false });
    return element_;
  }

  function more(folder, level, parent, left) {
    const element_ = h(
      "div.node.more",
      { role: "treeitem", "aria-level": level, "aria-selected": "false", style: { "--level": String(level - 1) } },
      h("span.twist"),
      h("span.mark"),
      h("span.kind"),
      h("span.name.dim", {}, `${count(left)} more: show the next`),
    );
    nodes.set(element_, { more: folder, level, parent });
    return element_;
  }

  async function act(target, want) {
    const node = nodes.get(target);
    if (node.more) return next(target, node);
    if (!node.row[6] || want === node.open || node.busy) return;
    if (node.open) return close(target, node);
    const folder = node.row[6];
    const mine = folders;
    if (!folders.has(folder)) {
      node.busy = true;
      target.classList.add("busy");
      const held = await fetch(folder, 0);
      target.classList.remove("busy");
      node.busy = false;
      if (mine !== folders || !target.isConnected) return; // another tree is shown by now
      folders.set(folder, held);
    }
    expandNow(target, []);
    unfold(target, node);
  }

  /** Scroll so far that what was opened is seen, and no farther than to the folder itself. */
  function unfold(target, node) {
    let last = target;
    while (last.nextElementSibling && nodes.get(last.nextElementSibling).level > node.level) last = last.nextElementSibling;
    const wanted = last.offsetTop + last.offsetHeight - element.clientHeight;
    if (wanted > element.scrollTop) element.scrollTop = Math.min(wanted, target.offsetTop);
  }

  function close(target, node) {
    node.open = false;
    target.setAttribute("aria-expanded", "false");
    while (target.nextElementSibling && nodes.get(target.nextElementSibling).level > node.level) {
      if (current === target.nextElementSibling) choose(target, false);
      target.nextElementSibling.remove();
    }
  }

  async function next(target, node) {
    if (node.busy) return;
    node.busy = true;
    const mine = folders;
    const had = folders.get(node.more);
    const held = await fetch(node.more, had.rows.length);
    if (mine !== folders || !target.isConnected) return;
    const lines = held.rows.map((row, place) => line(row, node.level, node.parent, had.rows.length + place + 1, held.total));
    had.rows.push(...held.rows);
    if (had.rows.length < held.total) lines.push(more(node.more, node.level, node.parent, held.total - had.rows.length));
    const wasChosen = current === target;
    target.replaceWith(...lines);
    if (wasChosen) choose(lines[0]);
  }

  function choose(target, reveal = true) {
    current?.setAttribute("aria-selected", "false");
    current = target;
    target.setAttribute("aria-selected", "true");
    if (!target.id) target.id = `nbc-${Math.random().toString(36).slice(2)}`;
    element.setAttribute("aria-activedescendant", target.id);
    if (!reveal) return;
    const { offsetTop: top, offsetHeight: height } = target;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + height > element.scrollTop + element.clientHeight) element.scrollTop = top + height - element.clientHeight;
  }

  function click(event) {
    const target = event.target.closest(".node");
    if (!target) return;
    choose(target, false);
    act(target);
  }

  function key(event) {
    if (!current || event.ctrlKey || event.metaKey || event.altKey) return;
    const lines = element.children;
    const node = nodes.get(current);
    const to = moved(event.key, [...lines].indexOf(current), lines.length);
    if (to !== null) choose(lines[to]);
    else if (event.key === "ArrowRight") {
      if (node.open) choose(current.nextElementSibling);
      else act(current, true);
    } else if (event.key === "ArrowLeft") {
      if (node.open) act(current, false);
      else if (node.parent) choose(node.parent);
    } else if (event.key === "Enter" || event.key === " ") act(current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return { element, show };
}

function tally(number, index) {
  const [sign, mood] = Object.values(MARK)[index];
  return number ? h(`span.${mood}`, {}, sign + count(number)) : null;
}

function sizesText(sizes) {
  if (!sizes) return "";
  const [before, after] = sizes;
  if (before === null || after === null || before === after) return before !== null && after !== null ? bytes(after) : "";
  return `${bytes(before)} → ${bytes(after)}`;
}

/** A path of several folders in one name: the separators step back. */
function slashed(name) {
  return name.split("/").flatMap((part, index) => (index ? [h("span.dim", {}, " / "), part] : [part]));
}
