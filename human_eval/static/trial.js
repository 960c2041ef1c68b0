// One trial: binds the transport, the command's curves and the form of votes to the keyboard, keeps
// answers over a reload, and hands the vote in until the server has said that it is stored.

import { Lane } from "./lane.js";
import { Player } from "./player.js";

const $ = (id) => document.getElementById(id);
const main = $("main");
const trial = JSON.parse(main.dataset.trial);
const texts = JSON.parse(main.dataset.texts);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (gap, name) => values[name] ?? gap);
const say = (text) => { $("say").textContent = text; };
const SIDES = ["left", "right"];
const CHOICES = ["left", "right", "tie", "unsure"];
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

document.documentElement.classList.add("scripted");

// --- what is kept over a reload, in this tab alone; and what is kept for the next trial ----------
const place = `dojobench:${trial.id}`;
const recall = (store, name, otherwise) => {
  try { return JSON.parse(store.getItem(name)) ?? otherwise; } catch { return otherwise; }
};
const retain = (store, name, value) => {
  try { store.setItem(name, JSON.stringify(value)); } catch { /* private mode: nothing is kept */ }
};
const kept = recall(sessionStorage, place, null);
const state = { answers: {}, breaks: { left: null, right: null }, seconds: 0, plays: 0, drift: null, dropped: 0, visited: [], ...kept };
const habits = { speed: 1, loop: false, keys: true, ...recall(localStorage, "dojobench:habits", {}) };

// --- the videos ------------------------------------------------------------------------------
const videos = ["left", "right", "reference"].map((name) => $(`video-${name}`)).filter(Boolean);
const player = new Player(videos, trial);
state.visited.forEach((frame) => player.visited.add(frame));
let lane = null;
let since = null; // when the rater last began to look
let handedIn = false; // then nothing is left to keep

const seconds = () => state.seconds + (since === null ? 0 : (performance.now() - since) / 1000);
const save = () => handedIn || retain(sessionStorage, place, {
  ...state,
  seconds: seconds(),
  plays: plays(),
  drift: drift(),
  dropped: dropped(),
  visited: [...player.visited],
});
const plays = () => state.plays + player.plays;
const drift = () => {
  const found = [state.drift, player.drift.largest].filter((each) => each !== null);
  return found.length ? Math.round(100 * Math.max(...found)) / 100 : null;
};
const dropped = () => state.dropped + player.dropped;

const status = (text) => { $("status").textContent = text; };
const frameText = () => fill(texts.frame, { frame: player.frame + 1, frames: trial.frames });

const showFrame = () => {
  const given = lane && lane.data.context > 0;
  const kind = given ? ` · ${player.frame < lane.data.context ? texts.given : texts.predicted}` : "";
  $("where").textContent = frameText() + kind;
  $("timeline").value = String(player.frame);
  $("timeline").setAttribute("aria-valuetext", frameText() + (lane ? `; ${lane.describe(player.frame)}` : ""));
  main.dataset.frame = String(player.frame);
  lane?.show(player.frame);
  for (const side of SIDES) showMark(side);
};
const showState = () => {
  main.dataset.playing = String(player.playing);
  $("play").setAttribute("aria-label", player.playing ? texts.pause : texts.play);
  $("play").title = `${player.playing ? texts.pause : texts.play} (Space)`;
  $("loop").setAttribute("aria-pressed", String(player.loop));
  for (const button of document.querySelectorAll("[data-speed]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === player.speed));
  }
  retain(localStorage, "dojobench:habits", habits);
  save();
};

const load = async () => {
  $("retry").hidden = true;
  try {
    await player.load((share) => status(fill(texts.loading, { percent: Math.floor(100 * share) })));
  } catch (error) {
    const undecodable = error.name === "NotSupportedError" || error.name === "TimeoutError";
    status(undecodable ? texts.decode_failed : texts.load_failed);
    say($("status").textContent);
    $("retry").hidden = false;
    return;
  }
  main.dataset.ready = "true";
  status("");
  say(kept ? texts.reload_kept : texts.ready);
  if (since === null && !document.hidden) since = performance.now();
  if (!calm && !document.hidden) player.play();
};
const loadLane = async () => {
  const response = await fetch(trial.actions.url, { credentials: "same-origin" });
  if (!response.ok) throw new Error(String(response.status));
  const data = await response.json();
  if (!data.dims.length) {
    $("lane-help").textContent = texts.no_actions;
    lane = { data, show() {}, describe: () => "" };
  } else {
    const parts = { lane: $("lane"), compass: $("compass"), more: $("lane-more"), texts, fill };
    lane = new Lane(parts, data, (frame) => { player.pause(); player.seek(frame); });
  }
  showFrame();
};

player.addEventListener("frame", showFrame);
// Which frame all videos show while they stand still.
const drawn = () => { if (!player.playing) main.dataset.drawn = String(player.frame); };
player.addEventListener("drawn", drawn);
player.addEventListener("state", () => {
  if (player.playing) delete main.dataset.drawn;
  showState();
  say(player.playing ? texts.said_playing : fill(texts.said_paused, { frame: player.frame + 1 }));
});
player.addEventListener("ended", () => { drawn(); if (!player.loop) say(texts.said_ended); save(); });

const actions = {
  toggle: () => player.toggle(),
  back: () => player.step(-1).then(() => say(frameText())),
  forward: () => player.step(1).then(() => say(frameText())),
  start: () => { player.pause(); player.seek(0); },
  end: () => { player.pause(); player.seek(trial.frames - 1); },
  speed: () => setSpeed({ 1: 0.5, 0.5: 0.25, 0.25: 1 }[player.speed]),
  loop: () => { player.loop = habits.loop = !player.loop; showState(); say(`${texts.loop}: ${player.loop ? "✓" : "–"}`); },
};
const setSpeed = (speed) => {
  habits.speed = speed;
  player.setSpeed(speed);
  say(`${texts.speed}: ${document.querySelector(`[data-speed="${speed}"]`).textContent}`);
};
const press = (id, act) => $(id).addEventListener("click", act);
press("play", actions.toggle);
press("back", actions.back);
press("forward", actions.forward);
press("to-start", actions.start);
press("loop", actions.loop);
press("retry", () => { load(); });
for (const button of document.querySelectorAll("[data-speed]")) {
  button.addEventListener("click", () => setSpeed(Number(button.dataset.speed)));
}
$("timeline").addEventListener("input", () => { player.pause(); player.seek(Number($("timeline").value)); });
for (const video of videos) video.addEventListener("click", actions.toggle);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    player.pause();
    state.seconds = seconds();
    since = null;
  } else if (player.ready) since = performance.now();
  save();
});

// --- the mark where a video breaks -------------------------------------------------------------
const showMark = (side) => {
  const frame = state.breaks[side];
  const here = frame !== null && frame === player.frame;
  $(`mark-${side}`).textContent = frame === null ? texts.break_none : fill(texts.break_marked, { frame: frame + 1 });
  $(`break-${side}`).textContent = here ? texts.break_clear : texts[`break_${side}`];
  $(`break-${side}`).classList.toggle("set", frame !== null);
  const flag = $(`flag-${side}`);
  flag.hidden = frame === null || player.frame < frame;
  flag.textContent = flag.hidden ? "" : fill(texts.break_marked, { frame: frame + 1 });
};
const showTicks = () => {
  const ticks = $("ticks");
  ticks.setAttribute("viewBox", "0 0 1000 10");
  ticks.replaceChildren(...SIDES.filter((side) => state.breaks[side] !== null).map((side) => {
    const tick = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const x = (1000 * state.breaks[side]) / Math.max(trial.frames - 1, 1);
    tick.setAttribute("d", side === "left" ? `M${x} 0v5` : `M${x} 5v5`);
    tick.setAttribute("class", side);
    return tick;
  }));
};
const mark = (side) => {
  player.pause();
  const here = state.breaks[side] === player.frame;
  state.breaks[side] = here ? null : player.frame;
  showMark(side);
  showTicks();
  save();
  say(`${texts[side]}: ${$(`mark-${side}`).textContent}`);
};
for (const side of SIDES) press(`break-${side}`, () => mark(side));

// --- the votes ---------------------------------------------------------------------------------
const form = $("vote");
form.noValidate = true;
const chosen = (axis) => form.elements[axis]?.value || null;
const choose = (axis, choice) => {
  const option = form.querySelector(`input[name="${axis}"][value="${choice}"]`);
  option.checked = true;
  answered(axis);
};
const answered = (axis) => {
  state.answers[axis] = chosen(axis);
  $(`question-${axis}`).classList.remove("missing");
  $("fault").textContent = "";
  save();
  say(`${texts[trial.questions[axis]]} ${texts[`answer_${chosen(axis)}`]}`);
};
for (const axis of trial.axes) {
  for (const option of form.querySelectorAll(`input[name="${axis}"]`)) {
    option.addEventListener("change", () => answered(axis));
    if (option.value === state.answers[axis]) option.checked = true;
  }
}

const missing = () => {
  if (!player.watched) return [texts.watch_first, null];
  const axis = trial.axes.find((each) => !chosen(each));
  if (!axis) return null;
  $(`question-${axis}`).classList.add("missing");
  return [fill(texts.answer_first, { question: texts[trial.questions[axis]] }), form.querySelector(`input[name="${axis}"]`)];
};
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const busy = (on) => {
  main.dataset.busy = String(on);
  $("submit").setAttribute("aria-disabled", String(on));
  $("submit").firstChild.textContent = on ? texts.saving : texts.submit;
};
const countdown = async (text, wanted) => {
  for (let left = wanted; left > 0; left -= 1) {
    $("fault").textContent = fill(text, { seconds: left });
    await wait(1000);
  }
  $("fault").textContent = "";
};
const notice = (text, label, act) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = label;
  button.addEventListener("click", act);
  $("notice").replaceChildren(`${text} `, button);
  $("notice").hidden = false;
  say(text);
  button.focus();
};
// The middle of the frame, where rounding cannot turn it into its neighbour.
const secondsOf = (frame) => (frame === null ? null : Math.round((1000 * (frame + 0.5)) / trial.rate) / 1000);
const ballot = () => JSON.stringify({
  token: trial.token,
  answers: Object.fromEntries(trial.axes.map((axis) => [axis, chosen(axis)])),
  break_at: Object.fromEntries(SIDES.map((side) => [side, secondsOf(state.breaks[side])])),
  drift_frames: drift(),
  seconds: Math.round(100 * seconds()) / 100,
  plays: plays(),
  dropped_frames: dropped(),
});

// A vote is the same vote however often it is sent, so it is sent again until it is acknowledged.
const send = async (body) => {
  for (let pause = 2; ; pause = Math.min(2 * pause, 30)) {
    let response = null;
    try {
      response = await fetch(form.getAttribute("action"), {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        credentials: "same-origin",
        body,
      });
    } catch { /* not reached; tried again below */ }
    if (response && response.status === 429) {
      await countdown(texts.too_fast, Number(response.headers.get("Retry-After")) || pause);
    } else if (response && response.status < 500) {
      return response;
    } else {
      await countdown(texts.offline, pause);
    }
  }
};
const leave = (next) => {
  handedIn = true;
  sessionStorage.removeItem(place);
  location.assign(next);
};
const submit = async () => {
  if (main.dataset.busy === "true") return;
  const lacking = missing();
  if (lacking) {
    $("fault").textContent = lacking[0];
    lacking[1]?.focus(); // not to the play button, where Enter would no longer mean "next"
    return;
  }
  player.pause();
  busy(true);
  save();
  const response = await send(ballot());
  const answer = await response.json().catch(() => ({}));
  if (response.ok && answer.next) {
    leave(answer.next);
    return;
  }
  busy(false);
  notice(answer.error ?? texts.refused, texts.go_on, () => leave(answer.next ?? "trial"));
};
form.addEventListener("submit", (submission) => { submission.preventDefault(); submit(); });

// --- the keyboard --------------------------------------------------------------------------------
const KEYS = {
  " ": actions.toggle, ",": actions.back, ".": actions.forward,
  ArrowLeft: actions.back, ArrowRight: actions.forward, Home: actions.start, End: actions.end,
  s: actions.speed, l: actions.loop, "[": () => mark("left"), "]": () => mark("right"), Enter: submit,
  "?": () => { const help = document.querySelector(".shortcuts"); help.open = !help.open; if (help.open) help.scrollIntoView({ block: "nearest" }); },
};
trial.axes.forEach((axis, row) => CHOICES.forEach((choice, column) => {
  KEYS[String(4 * row + column + 1)] = () => choose(axis, choice);
}));
const NATIVE = {
  radio: ["ArrowLeft", "ArrowRight", " "], range: ["ArrowLeft", "ArrowRight", "Home", "End"], checkbox: [" "],
};
const isNative = (target, key) => {
  if (target.matches("input")) return (NATIVE[target.type] ?? []).includes(key);
  // A button that was clicked keeps the focus; only one that was reached by keyboard is meant.
  return target.matches("button:focus-visible, summary:focus-visible, a:focus-visible") && [" ", "Enter"].includes(key);
};
document.addEventListener("keydown", (stroke) => {
  if (stroke.ctrlKey || stroke.metaKey || stroke.altKey || stroke.isComposing) return;
  const key = stroke.key.length === 1 ? stroke.key.toLowerCase() : stroke.key;
  const act = KEYS[key];
  if (!act || (!habits.keys && key.length === 1 && key !== " ") || isNative(stroke.target, key)) return;
  if (stroke.repeat && ![",", ".", "ArrowLeft", "ArrowRight"].includes(key)) return;
  stroke.preventDefault();
  act();
});
$("use-keys").checked = habits.keys;
const showKeys = () => document.documentElement.classList.toggle("no-keys", !habits.keys);
$("use-keys").addEventListener("change", () => { habits.keys = $("use-keys").checked; showKeys(); showState(); });

// --- a second tab ----------------------------------------------------------------------------------
// The server's lease decides which vote counts; this only spares the rater double work.
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("dojobench") : null;
tabs?.addEventListener("message", () => {
  player.pause();
  notice(texts.other_tab, texts.use_this_tab, () => location.reload());
});
tabs?.postMessage(trial.id);

// --- begin -------------------------------------------------------------------------------------
player.loop = habits.loop;
player.speed = habits.speed;
showKeys();
showState();
showFrame();
showTicks();
addEventListener("pagehide", save);
loadLane().catch(() => { $("lane-help").textContent = texts.load_failed; });
load();
