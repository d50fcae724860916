// LayersWidget: the layer stack of one image.

import { frame } from "./dom.js";
import { drawStack } from "./stack.js";

export default {
  render({ model, el }) {
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
    return () => model.off("change:stack", draw);
  },
};
