// UsageWidget: what containers use, in lines that go on while they run.

import { chart } from "./chart.js";
import { forget, frame, h, icon, kept, memory, percent, seconds, sent } from "./dom.js";

const SPAN = 60;

/**
 * The samples so far, by container: [time, processors busy, memory, processes]. Each arrives once and is kept for every view.
 * Beside them whether the kernel is gone, which nobody is left to tell.
 */
function known(model) {
  return kept(model, () => ({
    history: new Map(Object.entries(model.get("history")).map(([id, samples]) => [id, [...samples]])),
    isGone: false,
  }));
}

export default {
  initialize({ model }) {
    const all = known(model).history;
    model.on("comm_live_update", () => (known(model).isGone = true));
    model.on("msg:custom", (message) => {
      if (message.type !== "samples") return;
      for (const [id, sample] of Object.entries(message.samples)) {
        if (!all.has(id)) all.set(id, []);
        const samples = all.get(id);
        samples.push(sample);
        while (samples.length > 2 && samples[1][0] < sample[0] - SPAN) samples.shift();
      }
    });
    return () => forget(model);
  },

  render({ model, el }) {
    const root = frame(el, "nbc-usage", "What containers use");
    const state = h("span.pill", {});
    const stop = h("button.small", { type: "button", onclick: end }, icon("cross"), "Stop watching");
    const cards = h("div.cards");
    root.append(h("div.head", {}, h("span.title", {}, "Usage"), state, h("span.figures", {}, stop)), cards);
    const shown = new Map();

    function end() {
      if (!sent(model, { type: "stop" })) known(model).isGone = true;
      arrange();
    }

    function arrange() {
      const containers = model.get("containers");
      const live = model.get("live") && !known(model).isGone;
      for (const id of shown.keys()) {
        if (!containers.some((one) => one.id === id)) {
          shown.get(id).element.remove();
          shown.delete(id);
        }
      }
      cards.querySelector(".empty")?.remove();
      containers.forEach((one, place) => {
        if (!shown.has(one.id)) {
          const added = card(one);
          const samples = known(model).history.get(one.id) || [];
          samples.forEach((sample, index) => added.take(sample, index === samples.length - 1));
          shown.set(one.id, added);
        }
        const { element, describe } = shown.get(one.id);
        describe(one, live);
        if (cards.children[place] !== element) cards.insertBefore(element, cards.children[place] || null);
      });
      if (!containers.length)
        cards.append(
          h("div.empty", {}, live ? "No container is running. One that starts will show up here." : "No container was running."),
        );
      state.replaceChildren(h("span.dot", {}), live ? "live" : "ended");
      state.className = live ? "pill live" : "pill";
      stop.hidden = !live;
    }

    function take(message) {
      if (message.type !== "samples") return;
      for (const [id, sample] of Object.entries(message.samples)) shown.get(id)?.take(sample);
    }

    model.on("change:containers", arrange);
    model.on("change:live", arrange);
    model.on("comm_live_update", arrange);
    model.on("msg:custom", take);
    arrange();
    sent(model, { type: "seen" });
    return () => {
      model.off("change:containers", arrange);
      model.off("change:live", arrange);
      model.off("comm_live_update", arrange);
      model.off("msg:custom", take);
      sent(model, { type: "left" });
    };
  },
};

function card(container) {
  const cpu = gauge("Processor", { gentle: true }); // at its limit it is slowed down, which harms nothing
  const ram = gauge("Memory");
  const pids = gauge("Processes");
  const status = h("span.status");
  const source = h("span.pill.source");
  const unkept = list();
  const element = h(
    "div.card",
    { role: "group", "aria-label": container.name },
    h("div.who", {}, h("span.name.cut", { title: container.name }, container.name), h("span.dim.cut", {}, container.image), status, source),
    h("div.gauges", {}, cpu.element, ram.element, pids.element),
    h("div.unmeasured.dim", {}, "It was too short-lived to be measured."),
    unkept.element,
  );
  let now = container;

  return {
    element,
    describe(next, live) {
      now = next;
      const [mood, words] = told(next, live);
      status.className = `status ${mood}`;
      status.replaceChildren(h("span.dot"), words);
      source.textContent = next.source;
      source.hidden = !next.source;
      source.title = next.enforced ? "The kernel counts, and holds the limits." : "No cgroup counts: below is what that means.";
      unkept.show(next.unkept);
      element.classList.toggle("over", next.status !== "running" || !live);
      cpu.limit(next.cpuLimit ? `of ${percent(next.cpuLimit, 0)}${next.cpuHeld ? "" : ", not held"}` : "no limit");
      ram.limit(next.memoryLimit ? `of ${memory(next.memoryLimit)}` : "no limit", next.memoryPeak ? `peak ${memory(next.memoryPeak)}` : "");
      pids.limit(next.processesLimit ? `of ${next.processesLimit}` : "no limit", next.processesPeak ? `peak ${next.processesPeak}` : "");
    },
    take([time, busy, used, processes], draw = true) {
      element.classList.add("measured");
      if (busy !== null) cpu.show(draw, time, busy, percent(busy, busy < 0.0995 ? 1 : 0), now.cpuHeld ? now.cpuLimit : null, 1);
      ram.show(draw, time, used, memory(used), now.memoryLimit, 1 << 20);
      pids.show(draw, time, processes, String(processes), now.processesLimit, 4);
    },
  };
}

/** What is not enforced for a container, for whoever opens it: what several things have as their reason is said once, before them. */
function list() {
  const element = h("details.unkept", { hidden: true });
  let shown = "";
  return {
    element,
    show(groups) {
      const words = JSON.stringify(groups);
      if (words === shown) return; // or it would lose its focus
      shown = words;
      const count = groups.reduce((sum, [, whats]) => sum + whats.length, 0);
      const said = groups.map(([reason, whats]) =>
        reason ? [h("p", {}, `${reason}, so`), h("ul", {}, ...whats.map((what) => h("li", {}, what)))] : [h("p", {}, ...whats)],
      );
      element.replaceChildren(h("summary", {}, `Not enforced here: ${count}`), ...said.flat());
      element.hidden = !count;
    },
  };
}

/** One figure with its limit and its line. */
function gauge(name, { gentle = false } = {}) {
  const value = h("b.value.num", {}, "–");
  const bound = h("span.dim.num");
  const note = h("span.note.dim.num");
  const drawing = chart(name, SPAN);
  const element = h("div.gauge", {}, h("div.label", {}, h("div.cap", {}, name), note), h("div.reading", {}, value, " ", bound), drawing.svg);
  return {
    element,
    limit(text, aside = "") {
      bound.textContent = text;
      note.textContent = aside;
    },
    show(draw, time, number, text, limit, least) {
      drawing.add(time, number);
      if (!draw) return;
      value.textContent = text;
      drawing.draw(time, limit, limit ? 0 : least);
      drawing.tell(`${name} over the last minute, now ${text} ${bound.textContent}`);
      element.classList.toggle("near", Boolean(limit) && number >= limit * 0.9);
      element.classList.toggle("full", Boolean(limit) && number > limit * 0.985 && !gentle);
    },
  };
}

function told(container, live) {
  const { status, started, finished } = container;
  if (!live && (status === "running" || status === "paused")) return ["dim", `was ${status}`]; // by now it may have ended
  if (status === "running") return ["good", "running"];
  if (status === "paused") return ["warn", "paused"];
  if (status === "created" || status === "creating") return ["dim", "not started yet"];
  const after = started && finished > started ? ` after ${seconds(finished - started)}` : "";
  return [container.calm || status === "dead" ? "dim" : "bad", `${container.ended}${after}`];
}
