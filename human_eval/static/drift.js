// Measures how far videos that play together are apart, in frames of the slower clock.
//
// Every presented frame k says where its video stands against the wall clock: k minus the number
// of frames that passed until it was displayed. The difference between two videos' values is
// their drift; a video whose next frame is overdue falls behind even if it reports nothing.

export class Drift {
  constructor(videos, rate) {
    this.videos = videos;
    this.rate = rate;
    this.largest = null; // nothing was measured yet
    this.verified = videos.every((video) => "requestVideoFrameCallback" in video);
    this.run = 0;
    this.places = new Map();
  }

  // Starts to watch one stretch of playing at a speed.
  begin(speed) {
    this.run += 1;
    this.pace = (this.rate * speed) / 1000;
    this.zero = performance.now();
    this.places.clear();
    if (!this.verified) return;
    for (const video of this.videos) this.watch(video, this.run);
  }

  watch(video, run) {
    video.requestVideoFrameCallback((_, data) => {
      if (run !== this.run) return;
      const frame = Math.round(data.mediaTime * this.rate);
      const passed = (data.expectedDisplayTime - this.zero) * this.pace;
      this.places.set(video, { frame, offset: frame - passed });
      this.watch(video, run);
    });
  }

  // Takes part in each animation frame while the videos play; gives the present drift.
  sample(now) {
    const offsets = this.verified ? this.measured(now) : this.estimated();
    if (offsets.length < 2) return 0;
    const drift = Math.max(...offsets) - Math.min(...offsets);
    this.largest = Math.max(this.largest ?? 0, drift);
    return drift;
  }

  measured(now) {
    if (this.places.size < this.videos.length) return [];
    const passed = (now - this.zero) * this.pace;
    return this.videos.map((video) => {
      const { frame, offset } = this.places.get(video);
      return video.ended ? offset : Math.min(offset, frame + 1 - passed + this.slack());
    });
  }

  // A screen shows a frame only when it refreshes, so a frame is not overdue at once.
  slack() { return 34 * this.pace; }

  estimated() { return this.videos.map((video) => video.currentTime * this.rate); }

  end() { this.run += 1; }
}
