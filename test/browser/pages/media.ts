/** What a page does with media. The test calls these by their names. */
Object.assign(window, {
  /** Seeks to each of these seconds; says what it is, and which of red, green and blue is seen at each. */
  async watch(src: string, seconds: number[]) {
    const video = document.createElement('video');
    video.crossOrigin = 'anonymous';
    video.muted = true;
    video.preload = 'metadata';
    document.body.append(video);
    const next = (name: string) =>
      new Promise((resolve, reject) => {
        video.addEventListener(name, resolve, { once: true });
        video.addEventListener('error', () => reject(new Error(video.error?.message)), { once: true });
      });
    const loaded = next('loadedmetadata');
    video.src = src;
    await loaded;
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d');
    if (context === null) throw new Error('there is no canvas');
    const colors: string[] = [];
    for (const second of seconds) {
      const seeked = next('seeked');
      video.currentTime = second;
      await seeked;
      context.drawImage(video, 0, 0, 1, 1);
      const pixel = [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
      colors.push(['red', 'green', 'blue'].filter((_, index) => (pixel[index] ?? 0) > 127).join(' '));
    }
    return { duration: Math.round(video.duration), width: video.videoWidth, colors };
  },

  /** Shows an image; says its size, and what the page is told of how it came. */
  async show(src: string) {
    const told = nextTimingOf(src);
    const image = new Image();
    image.src = src;
    await image.decode();
    const { transferSize, encodedBodySize } = await told;
    return { size: [image.naturalWidth, image.naturalHeight], transferSize, encodedBodySize };
  },
});

/** On a busy machine the browser tells it after the image is decoded. */
function nextTimingOf(src: string): Promise<PerformanceResourceTiming> {
  return new Promise((resolve) => {
    const observer = new PerformanceObserver((list) => {
      const timing = list.getEntriesByName(src).at(-1);
      if (timing === undefined) return;
      observer.disconnect();
      resolve(timing as PerformanceResourceTiming);
    });
    observer.observe({ type: 'resource' });
  });
}
