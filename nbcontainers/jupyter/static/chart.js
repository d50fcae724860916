// A line over the last minute, drawn in SVG so that the theme colours it.

import { s } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 48;

/** A chart of the last `span` seconds; `add` takes instants in seconds and values, `draw` shows them up to `now`. */
export function chart(label, span = 60) {
  const area = s("path.area");
  const line = s("path.line");
  const limitLine = s("line.limit", { x1: 0, x2: WIDTH, y1: 4, y2: 4, style: { display: "none" } });
  const svg = s(
    "svg.chart",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("line.floor", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
    area,
    line,
    limitLine,
  );
  const points = [];

  return {
    svg,
    add(time, value) {
      points.push([time, value]);
    },
    draw(now, limit, least) {
      while (points.length > 2 && points[1][0] < now - span) points.shift();
      const most = Math.max(limit || 0, least, ...points.map(([, value]) => value * (limit ? 1 : 1.15))) || 1;
      const x = (time) => (((time - now) / span + 1) * WIDTH).toFixed(1);
      const y = (value) => (HEIGHT - 1 - (value / most) * (HEIGHT - 5)).toFixed(1);
      const path = points.map(([time, value]) => `${x(time)},${y(value)}`).join("L");
      line.setAttribute("d", path ? `M${path}` : "");
      area.setAttribute("d", path ? `M${x(points[0][0])},${HEIGHT}L${path}L${x(points[points.length - 1][0])},${HEIGHT}Z` : "");
      limitLine.style.display = limit ? "" : "none";
      if (limit) {
        limitLine.setAttribute("y1", y(limit));
        limitLine.setAttribute("y2", y(limit));
      }
    },
    tell(text) {
      svg.setAttribute("aria-label", text);
    },
  };
}
