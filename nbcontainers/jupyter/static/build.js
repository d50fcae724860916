// BuildView: the steps of a build as they run, then what came of it.

import { forget, frame, h, icon, kept, output, plural, seconds } from "./dom.js";
import { drawStack, instruction } from "./stack.js";

/** What has come so far: step number -> step, and step number -> the end of its output; and whether the kernel is gone. */
function arrived(model) {
  const all = kept(model, () => ({ steps: new Map(), tails: new Map(), isGone: false }));
  const { steps } = all;
  for (const step of model.get("steps")) {
    const before = steps.get(step.number);
    steps.set(step.number, step);
    step.began ??= before?.state === "running" ? before.began : performance.now() - step.seconds * 1000;
  }
  return all;
}

/** A kernel that is gone cannot say that its build was stopped. */
function phaseOf(model) {
  const phase = model.get("phase");
  return phase === "running" && arrived(model).isGone ? "stopped" : phase;
}

function heard(tails, more) {
  for (const [number, tail] of Object.entries(more)) tails.set(Number(number), tail);
}

export default {
  initialize({ model }) {
    const { tails } = arrived(model);
    heard(tails, model.get("tails"));
    model.on("change:steps", () => arrived(model));
    model.on("comm_live_update", () => (arrived(model).isGone = true));
    model.on("change:tails", () => heard(tails, model.get("tails")));
    model.on("msg:custom", (message) => message.type === "tails" && heard(tails, message.tails));
    return () => forget(model);
  },

  render({ model, el }) {
    const root = frame(el, "nbc-build", "Build");
    const { steps, tails } = arrived(model);
    const rows = new Map();
    const pill = h("span.pill", { role: "status" });
    const figures = h("span.figures.num.dim");
    const done = h("span.fill");
    const list = h("ol.steps.scroll", { "aria-label": "Steps of the build" });
    const work = h("p.work.dim", { role: "status", hidden: true });
    const warnings = h("div.warnings");
    const outcome = h("div.outcome");
    const title = h("span.title");
    const fold = h("button.small.fold", { type: "button", "aria-expanded": "true", onclick: () => folded(!list.hidden) });
    let timer = 0;
    let last = null;

    root.append(h("div.head", {}, title, pill, figures), h("div.progress", { "aria-hidden": "true" }, done), work, list, warnings, outcome);

    function folded(hide) {
      list.hidden = hide;
      fold.setAttribute("aria-expanded", String(!hide));
      fold.replaceChildren(icon(hide ? "right" : "down"), hide ? "Show the steps" : "Hide the steps");
    }

    function place(step) {
      let row = rows.get(step.number);
      if (!row) {
        row = stepRow();
        rows.set(step.number, row);
        const after = [...rows.keys()].filter((number) => number > step.number).sort((one, two) => one - two)[0];
        list.insertBefore(row.element, after ? rows.get(after).element : null);
      }
      row.draw(step, tails.get(step.number), phaseOf(model));
      if (step.state === "running" && !list.hidden) list.scrollTop = row.element.offsetTop + row.element.offsetHeight - list.clientHeight;
    }

    function summary() {
      const phase = phaseOf(model);
      const all = [...steps.values()];
      const total = Math.max(all.length, ...all.map((step) => step.total), 0);
      const ended = all.filter((step) => step.state === "done" || step.state === "cached").length;
      const cached = all.filter((step) => step.state === "cached").length;
      title.textContent = model.get("name") || "Build";
      const word = { running: "building", done: "built", failed: "failed", stopped: "stopped" }[phase];
      pill.className = `pill ${{ running: "live", done: "good", failed: "bad", stopped: "warn" }[phase]}`;
      pill.replaceChildren(phase === "done" ? icon("check") : phase === "failed" ? icon("cross") : h("span.dot"), word);
      figures.replaceChildren(
        ...[
          total ? h("span", {}, h("b", {}, `${ended}`), ` of ${plural(total, "step")}`) : null,
          cached ? h("span", {}, h("b", {}, `${cached}`), " from the cache") : null,
          model.get("phase") !== "running" ? h("span", {}, h("b", {}, seconds(model.get("seconds")))) : null,
          phase === "done" && all.length ? fold : null,
        ].filter(Boolean),
      );
      done.style.width = total ? `${(ended / total) * 100}%` : "0";
      root.dataset.phase = phase;
    }

    function finish() {
      const phase = phaseOf(model);
      if (phase === last) return;
      last = phase;
      for (const step of steps.values()) place(step);
      const { stack, failure } = { stack: model.get("stack"), failure: model.get("failure") };
      outcome.replaceChildren();
      if (failure) outcome.append(failed(failure));
      if (stack) drawStack(outcome, stack, { named: false, chosen: model.get("chosen"), onchoose: (index) => (model.set("chosen", index), model.save_changes()) });
      folded(phase === "done");
      clearInterval(timer);
      if (phase === "running") timer = setInterval(tick, 100);
    }

    function tick() {
      for (const step of steps.values()) if (step.state === "running") rows.get(step.number)?.time(step);
    }

    function warn() {
      warnings.replaceChildren(
        ...model.get("warnings").map((one) => h("p.warn", {}, h("span", {}, one.line ? `Line ${one.line}: ` : "", one.message), one.hint ? h("span.dim", {}, one.hint) : null)),
      );
    }

    function hear(message) {
      if (message.type !== "tails") return;
      heard(tails, message.tails);
      for (const number of Object.keys(message.tails)) if (steps.has(Number(number))) place(steps.get(Number(number)));
    }

    function moved() {
      arrived(model);
      for (const step of steps.values()) place(step);
      summary();
    }

    function labour() {
      const wasCut = phaseOf(model) !== model.get("phase");
      work.hidden = !wasCut && (!model.get("work") || model.get("phase") !== "running");
      work.replaceChildren(...(wasCut ? ["The kernel is gone, and its build with it."] : [h("span.spinner"), model.get("work")]));
    }

    function all() {
      summary();
      labour();
      finish();
    }

    model.on("msg:custom", hear);
    model.on("change:steps", moved);
    model.on("change:phase", all);
    model.on("comm_live_update", all);
    model.on("change:warnings", warn);
    model.on("change:work", labour);
    all();
    warn();
    return () => {
      clearInterval(timer);
      model.off("msg:custom", hear);
      model.off("change:steps", moved);
      model.off("change:phase", all);
      model.off("comm_live_update", all);
      model.off("change:warnings", warn);
      model.off("change:work", labour);
    };
  },
};

function stepRow() {
  const sign = h("span.sign");
  const number = h("span.number.num.dim");
  const tag = h("span.tag.dim");
  const clock = h("span.clock.num.dim");
  const twist = h("span.twist", {}, icon("right"));
  const text = h("pre.output", { tabindex: "0", role: "group", "aria-label": "Output of the step" });
  const head = h("button.step", { type: "button", onclick: () => open(text.hidden, true) });
  const why = h("p.why", { hidden: true });
  const element = h("li", {}, head, why, text);
  let chosen = false; // whether the reader opened or closed it: then it stays so
  let shown = null;
  text.hidden = true;

  function open(show, byHand = false) {
    chosen ||= byHand;
    text.hidden = !show;
    head.setAttribute("aria-expanded", String(show));
    if (show) text.scrollTop = text.scrollHeight;
  }

  return {
    element,
    time(step) {
      clock.textContent = seconds((performance.now() - step.began) / 1000);
    },
    draw(step, tail, phase) {
      const state = step.state === "running" && phase !== "running" ? "stopped" : step.state; // the kernel was gone before it could say so
      element.className = state;
      sign.replaceChildren(...{ done: [icon("check")], failed: [icon("cross")], cancelled: [icon("cross")], stopped: [icon("cross")], cached: [icon("again")], running: [h("span.spinner")] }[state]);
      number.textContent = `${step.number}`;
      tag.textContent = step.stage || "";
      if (state === "running") this.time(step);
      else clock.textContent = ["cached", "cancelled", "stopped"].includes(state) ? state : seconds(step.seconds);
      why.hidden = !step.reason;
      why.textContent = step.reason || "";
      const has = tail && tail.lines.length;
      twist.style.visibility = has ? "" : "hidden";
      if (!shown) head.append(sign, number, (shown = instruction(step.text)), tag, clock, twist);
      head.setAttribute("aria-label", `Step ${step.number}: ${step.text}, ${state}${has ? ", with output" : ""}`);
      head.disabled = !has;
      if (!has) return;
      const low = text.scrollHeight - text.scrollTop - text.clientHeight < 24;
      text.replaceChildren(tail.dropped ? h("span.dim", {}, `… ${plural(tail.dropped, "line")} before\n`) : "", ...output(tail.lines).filter((part) => part !== null));
      if (low) text.scrollTop = text.scrollHeight;
      if (!chosen) open(state === "running" || state === "stopped");
    },
  };
}

function failed(failure) {
  const lines = failure.excerpt.map(([number, text, marked]) =>
    h("div", { class: marked ? "line marked" : "line" }, h("span.number.num.dim", {}, `${number}`), h("code", {}, text || " "), marked ? h("span.spoken", {}, " (failed)") : null),
  );
  const said = failure.output.length ? h("pre.output", { tabindex: "0", role: "group", "aria-label": "End of the output" }, output(failure.output).filter((part) => part !== null)) : null;
  if (said) requestAnimationFrame(() => (said.scrollTop = said.scrollHeight)); // what went wrong stands last
  return h(
    "div.failure",
    { role: "alert" },
    h("p.message.bad", {}, failure.message),
    lines.length ? h("div.excerpt.scroll", { role: "group", "aria-label": "The Dockerfile where it failed", tabindex: "0" }, lines) : null,
    said,
    failure.hint ? h("p.hint", {}, h("span.dim", {}, "Hint: "), failure.hint) : null,
  );
}
