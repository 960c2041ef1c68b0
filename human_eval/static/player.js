// One transport for several videos of equal length: they load, seek, play and stop together.
//
// Files are fetched whole before anything plays, so that no video waits for the network, and
// nothing starts before each has shown that it can be decoded. Seeks go to the middle of a frame,
// where rounding cannot land on its neighbour.

import { Drift } from "./drift.js";

const PATIENCE_MS = 30000;

const event = (target, name) => new Promise((resolve, reject) => {
  const done = (settle, value) => {
    clearTimeout(timer);
    target.removeEventListener(name, resolved);
    target.removeEventListener("error", failed);
    settle(value);
  };
  const resolved = () => done(resolve);
  const failed = () => done(reject, new DOMException("cannot be decoded", "NotSupportedError"));
  const timer = setTimeout(() => done(reject, new DOMException(name, "TimeoutError")), PATIENCE_MS);
  target.addEventListener(name, resolved);
  target.addEventListener("error", failed);
});

export class Player extends EventTarget {
  constructor(videos, { frames, rate }) {
    super();
    Object.assign(this, { videos, frames, rate });
    this.drift = new Drift(videos, rate);
    this.frame = 0;
    this.speed = 1;
    this.loop = false;
    this.ready = false;
    this.playing = false;
    this.plays = 0;
    this.visited = new Set([0]);
    this.seeking = null;
    this.addresses = [];
  }

  // Fetches and opens all videos; `progress` is told the share that has arrived.
  async load(progress) {
    this.ready = false;
    for (const address of this.addresses.splice(0)) URL.revokeObjectURL(address);
    const shares = this.videos.map(() => 0);
    const report = (place) => (share) => {
      shares[place] = share;
      progress(shares.reduce((sum, each) => sum + each, 0) / shares.length);
    };
    this.sources ??= this.videos.map((video) => video.getAttribute("src"));
    const files = await Promise.all(this.sources.map((url, place) => fetchFile(url, report(place))));
    await Promise.all(this.videos.map((video, place) => this.open(video, files[place])));
    this.ready = true;
    await this.seek(this.frame);
    this.tell("ready");
  }

  async open(video, file) {
    video.removeAttribute("controls");
    video.preload = "auto";
    video.muted = true;
    video.playsInline = true;
    const address = URL.createObjectURL(file);
    this.addresses.push(address);
    const decoded = event(video, "loadeddata");
    video.src = address;
    video.load();
    await decoded;
    if (video.readyState < HTMLMediaElement.HAVE_ENOUGH_DATA) await event(video, "canplaythrough");
  }

  tell(name) { this.dispatchEvent(new Event(name)); }

  show(frame) {
    const now = Math.min(Math.max(frame, 0), this.frames - 1);
    if (this.playing) for (let k = this.frame; k <= now; k += 1) this.visited.add(k);
    this.frame = now;
    this.visited.add(now);
    this.tell("frame");
  }

  // Moves all videos to a frame; of several wishes while one is under way, the last one counts.
  seek(frame) {
    this.wish = Math.min(Math.max(Math.round(frame), 0), this.frames - 1);
    this.show(this.wish);
    if (!this.ready) return Promise.resolve();
    this.seeking ??= this.settle().finally(() => { this.seeking = null; });
    return this.seeking;
  }

  async settle() {
    let reached = null;
    while (reached !== this.wish) {
      reached = this.wish;
      const time = (reached + 0.5) / this.rate;
      await Promise.all(this.videos.map((video) => {
        const there = event(video, "seeked");
        video.currentTime = time;
        return there;
      }));
    }
    this.tell("drawn");
  }

  async step(by) {
    this.pause();
    await this.seek(this.frame + by);
  }

  async play() {
    if (!this.ready || this.playing) return;
    this.playing = true;
    this.tell("state");
    await this.seek(this.frame >= this.frames - 1 ? 0 : this.frame);
    if (!this.playing) return;
    this.plays += 1;
    await this.run();
  }

  async run() {
    for (const video of this.videos) video.playbackRate = this.speed;
    this.drift.begin(this.frame);
    try {
      await Promise.all(this.videos.map((video) => video.play()));
    } catch {
      this.pause(); // the browser wants a gesture first, or playing was interrupted
      return;
    }
    requestAnimationFrame(() => this.tick());
  }

  tick() {
    if (!this.playing) return;
    this.show(Math.floor(this.videos[0].currentTime * this.rate + 0.01));
    this.correct();
    if (this.videos.every((video) => video.ended)) this.finish();
    else requestAnimationFrame(() => this.tick());
  }

  // A video that is late plays a little faster until it has caught up.
  correct() {
    const [lead, ...others] = this.videos;
    for (const video of others) {
      if (video.ended || lead.ended || video.seeking) continue;
      const late = (lead.currentTime - video.currentTime) * this.rate;
      if (Math.abs(late) > 2) video.currentTime = lead.currentTime;
      const wanted = this.speed * (Math.abs(late) < 0.15 ? 1 : 1 + Math.sign(late) * 0.1);
      if (video.playbackRate !== wanted) video.playbackRate = wanted;
    }
  }

  finish() {
    this.drift.end();
    this.show(this.frames - 1);
    this.playing = false;
    this.tell("ended");
    if (this.loop) this.play();
    else this.tell("state");
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.drift.end();
    for (const video of this.videos) video.pause();
    this.tell("state");
    this.seek(this.frame); // all show the very same frame
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  setSpeed(speed) {
    this.speed = speed;
    if (this.playing) for (const video of this.videos) video.playbackRate = speed;
    this.tell("state");
  }

  // Whether nearly every frame was on the screen once.
  get watched() { return this.visited.size >= 0.8 * this.frames; }

  get dropped() {
    const quality = this.videos.map((video) => video.getVideoPlaybackQuality?.());
    return quality.reduce((sum, each) => sum + (each?.droppedVideoFrames ?? 0), 0);
  }
}

// Fetches one file whole, telling the share that has arrived.
const fetchFile = async (url, progress) => {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new DOMException(String(response.status), "NetworkError");
  const size = Number(response.headers.get("Content-Length"));
  const reader = response.body.getReader();
  const parts = [];
  let arrived = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    arrived += value.length;
    if (size) progress(Math.min(arrived / size, 1));
  }
  progress(1);
  return new Blob(parts, { type: "video/mp4" });
};
