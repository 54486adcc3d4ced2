"use strict";
(() => {
  // Plays the confused samples side by side. Without a script, and on paper, the strips of still pictures stand.
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const draw = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  function stage(box) {
    const clip = JSON.parse(box.dataset.clip), svg = box.querySelector("svg"), data = atob(clip.data);
    const bodies = Array.from({ length: clip.persons }, (_, person) => {
      const group = draw("g", { class: `person${person % 2}` }), limbs = draw("path", { class: "limbs" });
      group.append(limbs);
      const dots = Array.from({ length: clip.joints }, (_, joint) => {
        const marks = [], lit = clip.evidence ? clip.evidence[joint] : 0;
        if (lit > 0.05) marks.push(draw("circle", { class: "lit", r: 5, "fill-opacity": lit }));
        if (clip.critical.includes(joint)) marks.push(draw("circle", { class: "ring", r: 7.5 }));
        group.append(...marks);
        return marks;
      });
      svg.append(group);
      return { group, limbs, dots };
    });
    box.hidden = false;
    return (share) => {
      const frame = Math.round(share * (clip.frames - 1));
      bodies.forEach(({ limbs, dots }, person) => {
        const first = (frame * clip.persons + person) * clip.joints * 2;
        const at = (joint) => [data.charCodeAt(first + 2 * joint), data.charCodeAt(first + 2 * joint + 1)];
        const seen = (joint) => data.charCodeAt(first + 2 * joint) < 255;
        limbs.setAttribute("d", clip.edges.filter((edge) => edge.every(seen)).map(([one, two]) => `M${at(one)}L${at(two)}`).join(""));
        dots.forEach((marks, joint) => marks.forEach((mark) => {
          mark.setAttribute("visibility", seen(joint) ? "visible" : "hidden");
          if (seen(joint)) ["cx", "cy"].forEach((key, i) => mark.setAttribute(key, at(joint)[i]));
        }));
      });
      box.querySelector("output").textContent = `frame ${frame * +box.dataset.step + 1} of ${box.dataset.frames}`;
    };
  }
  for (const pair of document.querySelectorAll(".versus")) {
    const boxes = [...pair.querySelectorAll(".clip")], shows = boxes.map(stage);
    const tools = pair.querySelector(".player"), button = tools.querySelector("button"), slider = tools.querySelector("input");
    // Both take as long as the longer one would at 30 frames a second, so that their phases can be compared.
    const seconds = Math.max(1, ...boxes.map((box) => +box.dataset.frames / 30));
    let running = false, last = 0;
    const show = () => { for (const one of shows) one(slider.value / 1000); };
    const name = () => { button.textContent = running ? "❚❚ pause" : still.matches ? "▶ next picture" : "▶ play"; };
    function tick(now) {
      if (!running) return;
      slider.value = (+slider.value + (now - last) / seconds) % 1000;
      last = now;
      show();
      requestAnimationFrame(tick);
    }
    button.addEventListener("click", () => {
      if (still.matches) {
        running = false;
        slider.value = (+slider.value + 50) % 1050;
      } else {
        running = !running;
        last = performance.now();
        if (running) requestAnimationFrame(tick);
      }
      name();
      show();
    });
    slider.addEventListener("input", () => { running = false; name(); show(); });
    for (const strip of pair.querySelectorAll(".still")) strip.hidden = true;
    tools.hidden = false;
    name();
    show();
  }
  addEventListener("beforeprint", () => { for (const strip of document.querySelectorAll(".still")) strip.hidden = false; });
  addEventListener("afterprint", () => { for (const strip of document.querySelectorAll(".still")) strip.hidden = true; });
})();
