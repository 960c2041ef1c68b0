// Measures how far videos that play together are apart: the most frames between two pictures that
// were on the screen at the same moment.
//
// What counts is what requestVideoFrameCallback reports as presented, never currentTime, which goes
// on where the picture stands still. A video that reports nothing shows what it showed last, so a
// stalled one falls behind as the others go on. Nothing is counted that is not certain: frames that
// were presented but not reported may have been any between their neighbours, and a difference must
// outlast one refresh of the screen, as pictures of the same refresh are reported moments apart.

const REFRESH_MS = 20;

// What each video showed from when on: spans of the lowest and highest frame that it may have been.
const spansOf = (reports) => reports.map(({ at, frame, count }, place) => {
  const next = reports[place + 1];
  const seamless = !next || (count !== null && next.count - count <= 1 && next.count >= count);
  return seamless
    ? { at, low: frame, high: frame }
    : { at, low: Math.min(frame, next.frame), high: Math.max(frame, next.frame) };
});

// Gives the largest certain difference in frames; null where nothing was reported.
//
// `reports` lists what was presented: `video` (0 to videos - 1), `frame`, `at` in milliseconds, and
// `count`, the frames that the video had presented by then, or null where that is not known.
export const largestGap = (reports, videos) => {
  const sorted = [...reports].sort((one, two) => one.at - two.at);
  const shown = Array.from({ length: videos }, (_, video) =>
    spansOf(sorted.filter((report) => report.video === video)));
  if (videos < 2 || shown.some((spans) => !spans.length)) return null;
  const first = Math.max(...shown.map((spans) => spans[0].at));
  const moments = [...new Set(sorted.map(({ at }) => at))].filter((at) => at >= first);
  if (moments.length < 2) return null;
  const gaps = moments.map((moment) => {
    const now = shown.map((spans) => spans.filter(({ at }) => at <= moment).pop());
    return Math.max(0, Math.max(...now.map(({ low }) => low)) - Math.min(...now.map(({ high }) => high)));
  });
  return Math.max(0, ...moments.map((moment, start) => {
    const end = moments.findIndex((each) => each - moment >= REFRESH_MS);
    return end < 0 ? 0 : Math.min(...gaps.slice(start, end));
  }));
};

// Collects the reports of several videos while they play, and keeps the largest gap.
export class Drift {
  constructor(videos, rate) {
    this.rate = rate;
    this.counts = videos.map(() => null);
    this.reports = [];
    this.playing = false;
    this.past = null; // nothing was measured yet
    if (videos.every((video) => "requestVideoFrameCallback" in video)) {
      videos.forEach((video, place) => this.watch(video, place));
    }
  }

  watch(video, place) {
    video.requestVideoFrameCallback((_, data) => {
      this.note(place, data);
      this.watch(video, place);
    });
  }

  note(video, { mediaTime, expectedDisplayTime, presentedFrames }) {
    const frame = Math.round(mediaTime * this.rate);
    this.counts[video] = presentedFrames;
    if (!this.playing || (expectedDisplayTime < this.since && frame !== this.from)) return;
    const at = Math.max(expectedDisplayTime, this.since);
    this.reports.push({ video, frame, at, count: presentedFrames });
  }

  // Starts to measure; all videos show `frame`.
  begin(frame, now = performance.now()) {
    this.end();
    Object.assign(this, { from: frame, since: now, playing: true });
    this.reports = this.counts.map((count, video) => ({ video, frame, at: now, count }));
  }

  end() {
    this.past = this.largest;
    this.reports = [];
    this.playing = false;
  }

  // The largest gap of all that was played; null where the browser reported nothing.
  get largest() {
    const found = [this.past, largestGap(this.reports, this.counts.length)];
    const known = found.filter((each) => each !== null);
    return known.length ? Math.max(...known) : null;
  }
}
