// LayersWidget: the layer stack of one image.

import { frame, painted } from "./dom.js";
import { drawStack } from "./stack.js";

export default {
  render({ model, el }) {
    const began = performance.now();
    const draw = () => {
      const stack = model.get("stack");
      drawStack(frame(el, "nbc-layers", `Layers of ${stack.name}`), stack, {
        chosen: model.get("chosen"),
        onchoose(index) {
          model.set("chosen", index);
          model.save_changes();
        },
      });
    };
    model.on("change:stack", draw);
    draw();
    painted("layers", began);
    return () => model.off("change:stack", draw);
  },
};
