import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { videoProcessor } from '../../processors/video.ts';
import { processorContract } from '../contracts/processor.ts';
import { makeVideo } from '../support/videos.ts';

processorContract('a video', {
  processor: videoProcessor,
  mediaType: 'video/mp4',
  async makeInput() {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-video-'));
    try {
      const path = await makeVideo(directory, 'clip.mp4', [
        ...['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=10:duration=1'],
        ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'],
      ]);
      return await readFile(path);
    } finally {
      await rm(directory, { recursive: true });
    }
  },
});
