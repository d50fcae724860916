// Cells that begin with %%dockerfile: JupyterLab's own Dockerfile colours, and below the text what is wrong in it, as the kernel
// tells it (see checking.py). And outputs whose widget ended with its kernel: the HTML that they keep is shown in its place.
// Written by hand as the module container that JupyterLab loads: no bundler, nothing from elsewhere.
(() => {
  const NAME = "nbcontainers";
  const MAGIC = /^%%dockerfile(?=\s)/;
  const PAUSE = 400; // milliseconds without a key before the kernel is asked
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const HTML = "text/html";
  const RANK = -10; // as the plugin of widgets has it: before HTML
  const FAILED = "jupyter-widgets"; // the class that its renderer has when it says that there is nothing to show
  let scope;

  const shared = async (name) => {
    const versions = scope[name];
    if (!versions) throw new Error(`${NAME}: JupyterLab does not share ${name}`);
    return (await Object.values(versions)[0].get())();
  };

  const place = (doc, line, column) => {
    const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
    return Math.min(at.from + Math.max(column - 1, 0), at.to);
  };

  const element = (name, kind, text) => {
    const made = document.createElement(name);
    made.className = kind;
    made.textContent = text;
    return made;
  };

  const extension = (app, languages, { Compartment, Prec, StateEffect, StateField }, { Decoration, EditorView, ViewPlugin, showPanel }) => {
    const tell = StateEffect.define();

    const list = (remarks, view) => {
      const dom = element("ul", "nbc-remarks", "");
      dom.setAttribute("aria-label", "Remarks on the Dockerfile");
      for (const one of remarks) {
        const row = element("li", `nbc-remark ${one.kind}`, "");
        const go = element("button", "line", `line ${one.line - 1}`);
        go.type = "button";
        go.title = "Go there";
        go.onclick = () => {
          view.dispatch({ selection: { anchor: place(view.state.doc, one.line, one.column) }, scrollIntoView: true });
          view.focus();
        };
        row.append(go, element("b", "rule", one.rule || "error"), element("span", "message", one.message));
        if (one.hint) row.append(element("span", "hint", one.hint));
        dom.append(row);
      }
      return { dom };
    };

    const remarks = StateField.define({
      create: () => ({ marks: Decoration.none, panel: null }),
      update(value, change) {
        if (change.docChanged) value = { ...value, marks: value.marks.map(change.changes) };
        for (const effect of change.effects) {
          if (!effect.is(tell)) continue;
          const marks = [];
          for (const one of effect.value) {
            const from = place(change.state.doc, one.line, one.column);
            const to = place(change.state.doc, one.end_line, one.end_column);
            if (from < to) marks.push(Decoration.mark({ class: `nbc-mark ${one.kind}` }).range(from, to));
          }
          value = {
            marks: Decoration.set(marks, true),
            panel: effect.value.length ? (view) => list(effect.value, view) : null,
          };
        }
        return value;
      },
      provide: (field) => [
        EditorView.decorations.from(field, (value) => value.marks),
        showPanel.from(field, (value) => value.panel),
      ],
    });

    const kernelOf = (view) => {
      for (const widget of app.shell.widgets("main")) {
        if (widget.node.contains(view.dom)) return widget.sessionContext?.session?.kernel ?? null;
      }
      return null;
    };

    const ask = async (kernel, text) => {
      if ((await kernel.info).language_info.name !== "python") return [];
      const call = `__import__("nbcontainers.jupyter.checking", fromlist=["of"]).of(${JSON.stringify(text)})`;
      const asked = { code: "", silent: true, store_history: false, allow_stdin: false, user_expressions: { found: call } };
      const reply = await kernel.requestExecute(asked).done;
      return reply.content.user_expressions?.found?.data?.["application/json"] ?? [];
    };

    const colours = new Compartment();
    const watch = ViewPlugin.fromClass(
      class {
        constructor(view) {
          this.view = view;
          this.isOn = this.isAsking = false;
          this.look();
        }

        update(change) {
          if (change.docChanged) this.look();
        }

        destroy() {
          this.view = null;
          clearTimeout(this.timer);
        }

        look() {
          const { doc } = this.view.state;
          const isOn = MAGIC.test(doc.sliceString(0, 40));
          if (isOn !== this.isOn) this.colour(isOn);
          clearTimeout(this.timer);
          if (isOn || this.hasTold) this.timer = setTimeout(() => this.check(), PAUSE);
        }

        async colour(isOn) {
          this.isOn = isOn;
          const support = await (isOn ? languages.getLanguage("dockerfile") : null); // never within an update
          if (!this.view || isOn !== this.isOn) return;
          this.view.dispatch({ effects: colours.reconfigure(support?.support ? Prec.highest(support.support) : []) });
        }

        async check() {
          const text = this.view.state.doc.toString();
          const kernel = this.isOn ? kernelOf(this.view) : null;
          if (this.isOn && (!kernel || this.isAsking)) {
            this.timer = setTimeout(() => this.view && this.check(), 5 * PAUSE); // it starts, or is busy with the last question
            return;
          }
          this.isAsking = this.isOn;
          let found = [];
          try {
            found = this.isOn ? await ask(kernel, text) : [];
          } catch {
            found = []; // the kernel was restarted, or is gone
          } finally {
            this.isAsking = false;
          }
          if (!this.view || this.view.state.doc.toString() !== text) return;
          if (found.length || this.hasTold) this.view.dispatch({ effects: tell.of(found) });
          this.hasTold = found.length > 0;
        }
      },
    );

    const look = EditorView.baseTheme({
      ".nbc-mark": {
        textDecoration: "underline wavy var(--jp-warn-color1, #f57c00)",
        textDecorationSkipInk: "none",
        textUnderlineOffset: "3px",
      },
      ".nbc-mark.error": { textDecorationColor: "var(--jp-error-color1, #d32f2f)" },
      ".cm-panels:has(.nbc-remarks)": { backgroundColor: "transparent" },
      ".nbc-remarks": {
        listStyle: "none",
        margin: "0",
        padding: "4px 8px",
        font: "12px / 18px var(--jp-ui-font-family, system-ui, sans-serif)",
        color: "color-mix(in srgb, var(--jp-ui-font-color0, #000) 88%, var(--jp-layout-color1, #fff))",
      },
      ".nbc-remark": { display: "flex", flexWrap: "wrap", gap: "0 8px" },
      ".nbc-remark .line": {
        border: "0",
        padding: "0 2px",
        margin: "0 -2px",
        borderRadius: "3px",
        background: "none",
        color: "inherit",
        font: "inherit",
        fontVariantNumeric: "tabular-nums",
        cursor: "pointer",
        textDecoration: "underline dotted",
      },
      ".nbc-remark .line:focus-visible": { outline: "2px solid var(--jp-brand-color1, #1976d2)" },
      ".nbc-remark .rule": {
        fontWeight: "600",
        color: "color-mix(in srgb, var(--jp-warn-color1, #f57c00) 50%, var(--jp-ui-font-color0, #000))",
      },
      ".nbc-remark.error .rule": {
        color: "color-mix(in srgb, var(--jp-error-color1, #d32f2f) 64%, var(--jp-ui-font-color0, #000))",
      },
      ".nbc-remark .hint": {
        color: "color-mix(in srgb, var(--jp-ui-font-color0, #000) 66%, var(--jp-layout-color1, #fff))",
      },
    });

    return [colours.of([]), remarks, watch, look];
  };

  // A renderer of widgets that, where the model is gone, shows the HTML that an output of ours carries beside it.
  const keeping = (renderer, createForm) => {
    const render = renderer.renderModel.bind(renderer);
    let form = null;
    let drawn = ""; // the model of the view that stands here
    let turn = Promise.resolve();

    const show = async (model) => {
      const isOurs = String(model.data[HTML] ?? "").includes('class="nbcf');
      const wanted = model.data[VIEW]?.model_id;
      // Where only the HTML was brought up to date, the view stays: one more would be drawn, and the one below it go on unseen.
      if (isOurs && wanted && wanted === drawn) return;
      form?.dispose();
      form = null;
      await render(model);
      if (!isOurs || renderer.isDisposed) return;
      if (!renderer.hasClass(FAILED)) {
        if (renderer.widgets.length) drawn = wanted;
        return;
      }
      renderer.removeClass(FAILED);
      renderer.node.textContent = "";
      form = createForm();
      renderer.addWidget(form);
      await form.renderModel(model);
    };

    // One after another: it waits for the model, and meanwhile may be asked again.
    renderer.renderModel = (model) => (turn = turn.catch(() => {}).then(() => show(model)));
    return renderer;
  };

  const keep = (rendermime) => {
    const [widget, html] = [VIEW, HTML].map((type) => rendermime.getFactory(type));
    if (!widget || !html) return;
    const createRenderer = (options) =>
      keeping(widget.createRenderer(options), () => html.createRenderer({ ...options, mimeType: HTML }));
    rendermime.addFactory({ ...widget, createRenderer }, RANK);
  };

  const keepIn = async (panel) => {
    await panel.sessionContext.ready;
    // The plugin of widgets waits for the same, and some promises later puts a renderer of its own into this notebook; nothing is
    // drawn until they are through.
    for (let turn = 0; turn < 20; turn++) await null;
    if (!panel.isDisposed) keep(panel.content.rendermime);
  };

  const forms = async () => {
    if (!scope["@jupyter-widgets/base"]) return []; // no widgets here
    const [rendering, notebook, base] = await Promise.all(
      ["@jupyterlab/rendermime", "@jupyterlab/notebook", "@jupyter-widgets/base"].map(shared),
    );
    const plugin = {
      id: `${NAME}:forms`,
      description: "Shows the HTML of outputs whose widgets ended with their kernel.",
      autoStart: true,
      requires: [rendering.IRenderMimeRegistry, notebook.INotebookTracker],
      optional: [base.IJupyterWidgetRegistry], // to come after who provides it
      activate: (_, rendermime, tracker) => {
        keep(rendermime); // what is drawn before a notebook has its kernel
        tracker.forEach(keepIn);
        tracker.widgetAdded.connect((_, panel) => keepIn(panel));
      },
    };
    return [plugin];
  };

  const dockerfile = async () => {
    const [lab, state, view] = await Promise.all(["@jupyterlab/codemirror", "@codemirror/state", "@codemirror/view"].map(shared));
    return {
      id: `${NAME}:dockerfile`,
      description: "Colours Dockerfile cells and shows what is wrong in them.",
      autoStart: true,
      requires: [lab.IEditorExtensionRegistry, lab.IEditorLanguageRegistry],
      activate: (app, extensions, languages) => {
        const made = extension(app, languages, state, view);
        const factory = () => lab.EditorExtensionRegistry.createImmutableExtension(made);
        extensions.addExtension({ name: `${NAME}:dockerfile`, factory });
      },
    };
  };

  (window._JUPYTERLAB ??= {})[NAME] = {
    init: (given) => {
      scope = given;
    },
    get: async () => {
      const plugins = [await dockerfile(), ...(await forms())];
      return () => ({ __esModule: true, default: plugins });
    },
  };
})();
