// DiffWidget: in what two images differ. The tree is asked for folder by folder, as it is opened.

import { count, frame, h, icon, painted, plural, sent, signed } from "./dom.js";
import { drawTree } from "./tree.js";

const KINDS = [
  ["added", "+", "good", "added"],
  ["modified", "~", "warn", "changed"],
  ["deleted", "\u2212", "bad", "removed"],
];

const CHANGES = {
  added: ["+", "good", "added"],
  deleted: ["\u2212", "bad", "removed"],
  upgraded: ["\u2191", "good", "upgraded"],
  downgraded: ["\u2193", "warn", "downgraded"],
};

export default {
  render({ model, el }) {
    const began = performance.now();
    const root = frame(el, "nbc-diff", `In what ${model.get("before")} and ${model.get("after")} differ`);
    const first = model.get("tree");
    const settings = model.get("settings");
    const packages = model.get("packages");
    const totals = model.get("totals");
    const unread = model.get("unread");
    const shared = model.get("shared");
    root.append(
      h(
        "div.head",
        {},
        h("span.title", {}, model.get("before"), h("span.dim", {}, " → "), model.get("after")),
        h(
          "span.figures.num.dim",
          {},
          h("span", {}, h("b", {}, count(first.files)), first.files === 1 ? " file" : " files"),
          h("span", {}, h("b", {}, signed(first.growth))),
          figure(totals.packages, "package"),
          figure(totals.settings, "setting"),
          h("span", {}, h("b", {}, count(shared)), shared === 1 ? " layer shared" : " layers shared"),
        ),
      ),
    );
    let leave = () => {};
    if (first.files) leave = files(root, model, first);
    else root.append(h("div.empty", {}, settings.length ? "All files are the same; only settings differ." : "No difference: the same files and the same settings."));
    if (packages.length) root.append(packagesTable(packages, totals.packages));
    if (settings.length) root.append(settingsTable(settings, totals.settings));
    for (const sentence of unread) root.append(h("div.unread.warn", {}, sentence));
    painted("diff", began);
    return leave;
  },
};

function files(root, model, first) {
  const chosen = new Set(KINDS.map(([kind]) => kind));
  const asked = new Map();
  let number = 0;
  let order = "name";
  let generation = 0;
  let pause = 0;

  const filter = h("input.filter", {
    type: "search",
    placeholder: "Filter by path",
    "aria-label": "Show only files whose path holds this text",
    "data-lm-suppress-shortcuts": "true",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      clearTimeout(pause);
      pause = setTimeout(narrow, 150);
    },
  });
  const toggles = KINDS.map(([kind, sign, mood, word], index) =>
    h(
      "button.toggle",
      { type: "button", "aria-pressed": "true", disabled: !first.counts[index], onclick: (event) => toggle(kind, event.currentTarget) },
      h(`span.${mood}`, { "aria-hidden": "true" }, sign),
      ` ${count(first.counts[index])} ${word}`,
    ),
  );
  const sort = h(
    "button.small.sort",
    { type: "button", onclick: reorder },
    icon("sort"),
    h("span", {}, "Sorted by name"),
  );
  const news = h("div.news.dim", { role: "status" });
  const tree = drawTree({ fetch: (folder, from) => ask({ type: "open", folder, from, order, generation }) });
  root.append(h("div.tools", {}, filter, h("span.toggles", { role: "group", "aria-label": "Kinds of change" }, toggles), sort), tree.element, news);
  tree.show(first);

  function toggle(kind, button) {
    if (chosen.has(kind)) chosen.delete(kind);
    else chosen.add(kind);
    button.setAttribute("aria-pressed", String(chosen.has(kind)));
    narrow();
  }

  function reorder() {
    order = order === "name" ? "size" : "name";
    sort.lastChild.textContent = order === "name" ? "Sorted by name" : "Sorted by size";
    narrow();
  }

  async function narrow() {
    const mine = ++generation;
    const held = await ask({ type: "filter", text: filter.value, kinds: [...chosen], order, generation: mine });
    if (mine !== generation) return; // a later wish has overtaken it
    tree.show(held);
    const all = held.files === first.files;
    say(held.files ? (all ? "" : `${plural(held.files, "file")} of ${count(first.files)}, ${signed(held.growth)}`) : "No file matches.");
  }

  /** Ask the kernel; it answers when it is idle, and one that is busy is named. */
  function ask(message) {
    const id = ++number;
    const late = setTimeout(() => asked.has(id) && say("Waiting for the kernel: it answers when its cell has ended."), 500);
    return new Promise((resolve) => {
      asked.set(id, (answer) => {
        clearTimeout(late);
        if (news.textContent.startsWith("Waiting")) say("");
        resolve(answer);
      });
      if (!sent(model, { ...message, ask: id })) lost();
    });
  }

  /** Nobody will answer any more. */
  function lost() {
    if (!asked.size) return;
    asked.clear();
    say("The kernel is gone: only what was opened before can be shown.");
  }

  function say(text) {
    news.textContent = text;
  }

  function answer(message) {
    asked.get(message.ask)?.(message.answer);
    asked.delete(message.ask);
  }

  model.on("msg:custom", answer);
  model.on("comm_live_update", lost);
  return () => {
    model.off("msg:custom", answer);
    model.off("comm_live_update", lost);
  };
}

function figure(number, word) {
  return number ? h("span", {}, h("b", {}, count(number)), ` ${word}${number === 1 ? "" : "s"}`) : null;
}

/** Packages by what manages them, each with its versions before and after. */
function packagesTable(packages, total) {
  const groups = new Map();
  for (const one of packages) {
    const group = one.where ? `${one.packaging} in ${one.where}` : one.packaging;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(one);
  }
  const row = (one) => {
    const [sign, mood, word] = CHANGES[one.kind];
    return h(
      "tr",
      {},
      h(`td.sign.${mood}`, {}, h("span", { "aria-hidden": "true" }, sign), h("span.spoken", {}, word)),
      h("th.name", { scope: "row" }, h("code", {}, one.name)),
      h("td.before", {}, one.before === null ? null : h("code", {}, one.before)),
      h("td.arrow.dim", { "aria-hidden": "true" }, one.before !== null && one.after !== null ? "\u2192" : null),
      h("td.after", {}, one.after === null ? null : h("code", {}, one.after)),
    );
  };
  return h(
    "div.packages",
    {},
    h("div.cap", {}, "Packages"),
    h(
      "div.scroll",
      { tabindex: "0", role: "group", "aria-label": "Packages that differ" },
      h(
        "table",
        {},
        h("thead.spoken", {}, h("tr", {}, ["Change", "Package", "Before", "", "After"].map((title) => (title ? h("th", { scope: "col" }, title) : h("td"))))),
        [...groups].map(([group, members]) =>
          h("tbody", {}, h("tr", {}, h("th.group.dim", { scope: "rowgroup", colspan: "5" }, group)), members.map(row)),
        ),
      ),
      total > packages.length ? h("div.left.dim", {}, `${count(total - packages.length)} more are not shown here.`) : null,
    ),
  );
}

function settingsTable(settings, total) {
  const value = (text, mood, sign, word) =>
    text === null ? null : h(`code.${mood}`, {}, h("span.sign", { "aria-hidden": "true" }, sign), h("span.spoken", {}, word), h("span.value", {}, text));
  return h(
    "div.settings",
    {},
    h("div.cap", {}, "Settings"),
    h(
      "div.scroll",
      { tabindex: "0", role: "group", "aria-label": "Settings that differ" },
      h("dl", {}, settings.map((one) =>
        h("div.setting", {}, h("dt", {}, h("code", {}, one.key)), h("dd", {}, value(one.before, "bad", "\u2212", "before: "), value(one.after, "good", "+", "after: "))),
      )),
      total > settings.length ? h("div.left.dim", {}, `${count(total - settings.length)} more are not shown here.`) : null,
    ),
  );
}
