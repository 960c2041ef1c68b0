"use strict";
// The page is whole without this script. It makes table heads sort and gives each clip one
// transport: the composite video is drawn pane by pane, so all panes show the same frame.
(() => {
  const say = (text) => { document.getElementById("say").textContent = text; };

  // --- tables ---------------------------------------------------------------------------
  const order = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.order;
    if (text === undefined) return null;
    const number = Number(text.replaceAll(",", ""));
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // missing goes last
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row, place) => [order(row, column), place, row]);
    rows.sort((a, b) => compare(a[0], b[0], sign) || a[1] - b[1]);
    body.append(...rows.map((entry) => entry[2]));
    [...table.tHead.rows[0].cells].forEach((head, k) => {
      const mine = k === column;
      if (mine) head.setAttribute("aria-sort", direction); else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = mine ? (sign > 0 ? "↑" : "↓") : "";
    });
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      const arrow = document.createElement("span");
      arrow.className = "arrow";
      arrow.setAttribute("aria-hidden", "true");
      (button.querySelector(".head") || button).append(arrow);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.first || "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const direction = now === first ? other : first;
        sort(table, column, direction);
        const name = (button.querySelector(".head") || button).textContent.replace(/[↑↓]/g, "");
        say(`Sorted by ${name.trim()}, ${direction}`);
      });
    });
  }

  // --- clips ----------------------------------------------------------------------------
  // A blob answers range requests, which some browsers demand before they seek in a video.
  const blobAddress = (address) => {
    const bytes = Uint8Array.from(atob(address.slice(address.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  };
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const players = [];

  const enliven = (article) => {
    const video = article.querySelector("video");
    const source = video.getAttribute("src");
    const poster = video.poster;
    const frames = Number(article.dataset.frames);
    const rate = Number(article.dataset.rate);
    const context = Number(article.dataset.context);
    const lead = Number(article.dataset.lead);
    const values = JSON.parse(article.dataset.values);
    const [label, unit, decimals] = article.dataset.unit.split("|");
    article.append(article.querySelector("template").content.cloneNode(true));
    article.classList.add("live");
    article.tabIndex = 0;
    article.setAttribute("role", "group");
    article.setAttribute("aria-label", `${article.querySelector("h3").textContent.trim()}: space plays, comma and full stop step`);
    const canvases = [...article.querySelectorAll("canvas")];
    const scrub = article.querySelector("input");
    const where = article.querySelector(".where");
    const badges = article.querySelectorAll(".badge");
    const head = article.querySelector(".spark .head");
    const find = (name) => article.querySelector(`[data-do="${name}"]`);
    let frame = frames - 1; // the poster shows the last frame
    let target = null; // the frame that was asked for; none while it plays
    let ready = false;
    let loading = null;

    video.removeAttribute("controls");
    video.muted = true;
    video.loop = !calm;
    find("loop").setAttribute("aria-pressed", String(video.loop));

    const draw = (picture) => canvases.forEach((canvas) => {
      canvas.getContext("2d").drawImage(
        picture, Number(canvas.dataset.x), Number(canvas.dataset.y), canvas.width, canvas.height,
        0, 0, canvas.width, canvas.height);
    });
    const parts = () => {
      const kind = frame < context ? "context, given to the model" : "predicted";
      const value = values[frame - lead];
      const score = value === undefined ? [] : [`${label} ${value.toFixed(decimals)} ${unit}`.trim()];
      return [`Frame ${frame + 1} of ${frames}`, kind, ...score];
    };
    const describe = () => parts().join(", ");
    const show = (number) => {
      frame = Math.min(Math.max(number, 0), frames - 1);
      article.dataset.frame = String(frame);
      scrub.value = String(frame);
      scrub.setAttribute("aria-valuetext", describe());
      where.replaceChildren(...parts().map((part) => {
        const line = document.createElement("span");
        line.textContent = part;
        return line;
      }));
      for (const badge of badges) badge.textContent = frame < context ? "context" : "";
      const x = String((frame / Math.max(frames - 1, 1)) * 600);
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
    };
    const load = () => {
      loading ??= new Promise((resolve, reject) => {
        video.addEventListener("loadeddata", () => { ready = true; resolve(); }, { once: true });
        video.addEventListener("error", () => reject(video.error), { once: true });
        video.preload = "auto";
        video.src = blobAddress(source);
        video.load();
      });
      return loading;
    };
    const fail = () => { where.textContent = "This browser cannot decode the video (H.264)."; };
    // One picture, drawn to all panes, then named by the time it carries.
    const paint = (time) => {
      const number = Math.floor(time * rate + 0.01);
      if (target !== null && number !== target) return; // left over from an earlier seek
      draw(video);
      show(number);
      article.dataset.drawn = String(number);
    };
    const watch = () => {
      if ("requestVideoFrameCallback" in video) {
        video.requestVideoFrameCallback((_, data) => { paint(data.mediaTime); watch(); });
      } else {
        const tick = () => { paint(video.currentTime); if (!video.paused) requestAnimationFrame(tick); };
        video.addEventListener("play", tick);
        video.addEventListener("seeked", () => paint(video.currentTime));
      }
    };
    const seek = (number) => {
      target = Math.min(Math.max(number, 0), frames - 1);
      video.pause();
      show(target);
      load().then(() => { video.currentTime = (frame + 0.5) / rate; }).catch(fail);
    };
    const step = (by) => { seek(frame + by); say(describe()); };
    const toggle = () => {
      load().then(() => {
        if (!video.paused) { video.pause(); say(describe()); return; }
        players.forEach((other) => { if (other !== video) other.pause(); });
        target = null;
        if (frame >= frames - 1) video.currentTime = 0;
        video.play();
      }).catch(fail);
    };
    const state = () => { find("play").textContent = video.paused ? "Play" : "Pause"; };

    // A frame callback may be left out where seeks follow each other fast.
    video.addEventListener("seeked", () => {
      if (target !== null && article.dataset.drawn !== String(target)) paint(video.currentTime);
    });
    video.addEventListener("play", state);
    video.addEventListener("pause", state);
    find("play").addEventListener("click", toggle);
    find("back").addEventListener("click", () => step(-1));
    find("next").addEventListener("click", () => step(1));
    find("speed").addEventListener("change", (event) => {
      const speed = Number(event.target.value);
      video.defaultPlaybackRate = speed;
      video.playbackRate = speed;
    });
    find("loop").addEventListener("click", (event) => {
      video.loop = !video.loop;
      event.currentTarget.setAttribute("aria-pressed", String(video.loop));
    });
    scrub.addEventListener("input", () => seek(Number(scrub.value)));
    article.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const on = event.target.tagName;
      if (on === "SELECT" || (on === "BUTTON" && (event.key === " " || event.key === "Enter"))) return;
      if (on === "INPUT" && /^(Arrow|Home|End|Page)/.test(event.key)) return; // the slider's own
      const moves = {
        " ": toggle, ",": () => step(-1), ".": () => step(1), ArrowLeft: () => step(-1),
        ArrowRight: () => step(1), Home: () => step(-frames), End: () => step(frames),
      };
      if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
    });
    const still = new Image();
    still.addEventListener("load", () => { if (!ready) draw(still); });
    still.src = poster;
    players.push(video);
    show(frame);
    watch();
  };
  for (const article of document.querySelectorAll("[data-player]")) enliven(article);

  // --- print ----------------------------------------------------------------------------
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details.run, details.reel")) part.open = true;
  });
})();
