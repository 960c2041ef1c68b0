"use strict";
// Compares two to four rows of a table: paired differences, clip by clip and added up by episode,
// as the site's own tables do it (`leaderboard/site_ranks.py`), and clips in step where there are
// videos. The choice stands in the address.
(() => {
  const box = document.getElementById("compare");
  const root = document.body.dataset.root;
  const state = new URLSearchParams(location.search);
  const MOST = 4;
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const load = async (address) => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
    return answer.json();
  };
  const decimals = { dB: 2, s: 2, ms: 1, FPS: 2, "% of height": 1, levels: 2, steps: 1 };
  const write = (value, unit) => {
    const text = value.toFixed(decimals[unit] ?? 3);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  };
  const signed = (value, unit) => {
    const text = write(value, unit);
    return value > 0 && Number(text.replace("−", "-")) !== 0 ? `+${text}` : text;
  };

  // Student's two-sided 95 % quantile, from the incomplete beta function by continued fraction.
  const logGamma = (x) => {
    const c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155,
      0.001208650973866179, -0.000005395239384953];
    const t = x + 5.5 - (x + 0.5) * Math.log(x + 5.5);
    const series = c.reduce((sum, each, k) => sum + each / (x + 1 + k), 1.000000000190015);
    return -t + Math.log(2.5066282746310005 * series / x);
  };
  const fraction = (a, b, x) => {
    const tiny = 1e-300;
    let c = 1, d = 1 / Math.max(1 - (a + b) * x / (a + 1), tiny), h = d;
    for (let m = 1; m < 300; m += 1) {
      const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      d = 1 / (1 + even * d || tiny); c = 1 + even / c || tiny; h *= d * c;
      const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
      d = 1 / (1 + odd * d || tiny); c = 1 + odd / c || tiny; h *= d * c;
      if (Math.abs(d * c - 1) < 1e-14) break;
    }
    return h;
  };
  const beta = (x, a, b) => {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x));
    return x < (a + 1) / (a + b + 2) ? front * fraction(a, b, x) / a : 1 - front * fraction(b, a, 1 - x) / b;
  };
  const quantile = (freedom) => {
    let low = 0, high = 1000;
    for (let k = 0; k < 80; k += 1) {
      const t = (low + high) / 2;
      if (beta(freedom / (freedom + t * t), freedom / 2, 0.5) > 0.05) low = t; else high = t;
    }
    return (low + high) / 2;
  };
  const paired = (first, second, metric) => {
    const other = new Map(second.filter((c) => metric in c.values).map((c) => [c.clip, c.values[metric]]));
    const clips = first.filter((c) => metric in c.values && other.has(c.clip));
    if (!clips.length) return null;
    const differences = clips.map((c) => c.values[metric] - other.get(c.clip));
    const mean = differences.reduce((a, b) => a + b, 0) / clips.length;
    const sums = new Map();
    clips.forEach((c, k) => {
      const episode = `${c.source}/${c.episode}`;
      sums.set(episode, (sums.get(episode) || 0) + (differences[k] - mean) / clips.length);
    });
    const n = sums.size;
    if (n < 2) return { mean, low: -Infinity, high: Infinity, clips: clips.length, episodes: n };
    const variance = n / (n - 1) * [...sums.values()].reduce((a, b) => a + b * b, 0);
    const half = quantile(n - 1) * Math.sqrt(variance);
    return { mean, low: mean - half, high: mean + half, clips: clips.length, episodes: n };
  };

  let boards = [];
  const cache = new Map();
  const entry = (id) => {
    if (!cache.has(id)) cache.set(id, load(`${root}data/models/${encodeURIComponent(id)}.json`));
    return cache.get(id);
  };
  const resultOf = (data, board) => data.results.find((r) => r.run.suite === board.suite
    && r.run.benchmark === board.benchmark && r.run.convention === board.convention
    && r.run.suite_version === board.version[0] && r.run.metric_version === board.version[1]);

  const form = make("form", undefined, "picker");
  const result = make("div");
  result.id = "compared";
  const select = (text, options, chosen, name) => {
    const label = make("label");
    const control = make("select");
    control.name = name;
    for (const [value, shown] of options) control.append(new Option(shown, value));
    control.value = chosen;
    if (control.selectedIndex < 0) control.selectedIndex = 0;
    label.append(make("span", text), control);
    form.append(label);
    return control;
  };
  const draw = () => {
    form.textContent = "";
    const wanted = boards.find((b) => b.key === state.get("table"))
      || boards.find((b) => b.suite === state.get("suite")) || boards[0];
    const table = select("Table", boards.map((b) => [b.key, `${b.suite}: ${b.title}`]), wanted.key, "table");
    table.addEventListener("change", () => { state.set("table", table.value); draw(); });
    const asked = state.getAll("m").filter((id) => wanted.rows.some((r) => r.id === id));
    for (const row of wanted.rows) {
      if (asked.length < 2 && !asked.includes(row.id)) asked.push(row.id);
    }
    const controls = [];
    for (let k = 0; k < MOST; k += 1) {
      const none = k < 2 ? [] : [["", "none"]];
      const control = select(`Model ${k + 1}`, [...none, ...wanted.rows.map((r) => [r.id, r.name])],
        asked[k] || "", `m${k + 1}`);
      control.addEventListener("change", () => { keep(wanted, controls); show(wanted, chosen(controls)); });
      controls.push(control);
    }
    keep(wanted, controls);
    show(wanted, chosen(controls));
  };
  const chosen = (controls) => [...new Set(controls.map((c) => c.value).filter(Boolean))];
  const keep = (board, controls) => {
    state.delete("m"); state.delete("suite");
    state.set("table", board.key);
    for (const id of chosen(controls)) state.append("m", id);
    history.replaceState(null, "", `${location.pathname}?${state}`);
  };

  const show = async (board, ids) => {
    result.setAttribute("aria-busy", "true");
    try {
      const data = await Promise.all(ids.map(entry));
      result.replaceChildren(...layout(board, data));
      document.getElementById("say").textContent = `Comparing ${data.map((d) => d.name).join(", ")}`;
    } catch (error) {
      result.replaceChildren(make("p", `The numbers cannot be read (${error.message}). Look at the site `
        + "with `dojobench leaderboard serve`, since a page opened from disk may not read files.", "status"));
    }
    result.removeAttribute("aria-busy");
  };
  const layout = (board, data) => {
    if (data.length < 2) return [make("p", "Choose two different models.")];
    const found = data.map((d) => resultOf(d, board));
    const scroll = make("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Side by side");
    const table = make("table", undefined, "board");
    table.createCaption().append(make("span", `Means, and differences from ${data[0].name} with 95 % intervals by episode`));
    const head = table.createTHead().insertRow();
    const th = (text, scope, className) => {
      const cell = make("th", text, className);
      cell.scope = scope;
      return cell;
    };
    head.append(th("Number", "col", "name"));
    for (const d of data) head.append(th(d.name, "col"));
    const body = table.createTBody();
    for (const column of board.columns) {
      if (!found.some((r) => r && column.name in r.metrics)) continue;
      const row = body.insertRow();
      const name = th(column.label, "row", "name");
      name.append(make("span", [column.unit, column.text].filter(Boolean).join(", "), "note-line"));
      row.append(name);
      found.forEach((r, k) => row.append(cellOf(column, r, k ? found[0] : null)));
    }
    scroll.append(table);
    const parts = [make("h2", `${board.suite}: ${board.title}`), scroll];
    const videos = reel(data, found);
    return videos ? [...parts, make("h2", "Clips in step"), videos] : parts;
  };
  const cellOf = (column, result, base) => {
    const cell = make("td");
    const number = result && result.metrics[column.name];
    if (!number) { cell.textContent = "–"; return cell; }
    cell.append(make("span", write(number.mean, column.unit), "value"));
    if (!base) {
      if (number.low !== null && number.high !== null) {
        cell.append(make("span", `${write(number.low, column.unit)} to ${write(number.high, column.unit)}`, "interval"));
      }
      return cell;
    }
    const d = paired(result.clips, base.clips, column.name);
    if (!d) return cell;
    const apart = d.low > 0 || d.high < 0;
    const better = column.higher === false ? d.mean < 0 : d.mean > 0;
    const judged = column.higher !== null && column.target === null && apart;
    const word = judged ? (better ? ", better" : ", worse") : apart ? ", differs" : ", not told apart";
    cell.append(make("span", `${signed(d.mean, column.unit)}${word}`, judged ? (better ? "better" : "worse") : "soft"));
    const ends = Number.isFinite(d.low) ? `${signed(d.low, column.unit)} to ${signed(d.high, column.unit)}` : "too few episodes";
    cell.append(make("span", ends, "interval"));
    return cell;
  };
  const reel = (data, found) => {
    const names = (d, r) => new Map((d.videos || []).filter((v) => r && v.startsWith(`${r.run.name}/`))
      .map((v) => [v.slice(v.indexOf("/") + 1), v]));
    const maps = data.map((d, k) => names(d, found[k]));
    const shared = [...maps[0].keys()].filter((name) => maps.every((m) => m.has(name))).sort();
    if (!shared.length) return null;
    const box = make("div");
    const label = make("label", "Clip ");
    const choice = make("select");
    for (const name of shared) choice.append(new Option(name.replace(/\.s\d+\.pred\.mp4$/, ""), name));
    label.append(choice);
    const play = make("button", "Play together");
    play.type = "button";
    const steps = [["Frame back", -1], ["Next frame", 1]].map(([text, way]) => {
      const button = make("button", text);
      button.type = "button";
      button.addEventListener("click", () => step(way));
      return button;
    });
    const tools = make("div", undefined, "tools");
    tools.append(label, play, ...steps);
    const grid = make("div", undefined, "reel");
    const rate = found[0].frame_rate;
    let videos = [];
    const fill = () => {
      videos = data.map((d, k) => {
        const video = make("video");
        video.muted = true; video.loop = true; video.playsInline = true; video.preload = "auto";
        video.src = `${root}media/${encodeURIComponent(d.id)}/${maps[k].get(choice.value)}`;
        video.setAttribute("aria-label", `${choice.value} by ${d.name}`);
        return video;
      });
      grid.replaceChildren(...data.map((d, k) => {
        const figure = make("figure");
        figure.append(make("figcaption", d.name), videos[k]);
        return figure;
      }));
      play.textContent = "Play together";
    };
    const follow = () => {
      if (videos[0].paused) return;
      for (const video of videos.slice(1)) {
        if (Math.abs(video.currentTime - videos[0].currentTime) > 0.04) video.currentTime = videos[0].currentTime;
      }
      requestAnimationFrame(follow);
    };
    const stop = () => {
      for (const video of videos) { video.pause(); video.loop = false; }
      play.textContent = "Play together";
    };
    // All go to the middle of one frame, where rounding leads to no neighbour.
    const step = (way) => {
      stop();
      const frames = Math.max(1, Math.round(Math.min(...videos.map((v) => v.duration || 0)) * rate));
      const frame = Math.min(Math.max(Math.floor(videos[0].currentTime * rate) + way, 0), frames - 1);
      const time = (frame + 0.5) / rate;
      for (const video of videos) if (Math.abs(video.currentTime - time) > 1e-4) video.currentTime = time;
    };
    play.addEventListener("click", async () => {
      if (!videos[0].paused) { step(0); return; }
      play.textContent = "Pause";
      for (const video of videos) video.loop = true;
      await Promise.all(videos.map((video) => video.play()));
      requestAnimationFrame(follow);
    });
    choice.addEventListener("change", fill);
    fill();
    box.append(tools, grid);
    return box;
  };

  load(box.dataset.boards).then((data) => {
    boards = data.boards.filter((b) => b.rows.length > 1);
    if (!boards.length) return;
    box.append(form, result);
    box.hidden = false;
    document.getElementById("ready-made").hidden = true;
    draw();
  }).catch(() => {
    box.append(make("p", "This page reads its numbers when it is served; look at the site with "
      + "`dojobench leaderboard serve`. Below are comparisons that stand ready.", "status"));
    box.hidden = false;
  });
})();
