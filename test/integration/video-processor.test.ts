import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProcessedMedia } from '../../processors/types.ts';
import { videoProcessor } from '../../processors/video.ts';
import { differenceOf, paint, readPicture } from '../support/pictures.ts';
import { type Processing, previewOf, processBytes, temporaryDirectory } from '../support/processing.ts';
import { describeVideo, makeVideo } from '../support/videos.ts';

const run = promisify(execFile);

const MP4 = 'video/mp4';
const H264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'];
const TONE = ['-f', 'lavfi', '-i', 'sine=frequency=440'];

async function processVideo(
  args: readonly string[],
  name: string,
  options: Processing,
): Promise<ProcessedMedia> {
  const path = await makeVideo(await temporaryDirectory(), name, args);
  return processBytes(videoProcessor, await readFile(path), options);
}

function color(name: string, seconds: number, size = '320x180'): string[] {
  return ['-f', 'lavfi', '-i', `color=${name}:size=${size}:rate=10:duration=${seconds}`];
}

describe('a video of a minute', () => {
  let bytes: Buffer;

  beforeAll(async () => {
    const directory = await temporaryDirectoryOfSuite();
    const path = await makeVideo(directory, 'minute.mp4', [
      ...['-f', 'lavfi', '-i', 'testsrc2=size=1920x1080:rate=1:duration=60'],
      ...[...TONE, '-t', '60', ...H264, '-g', '5', '-c:a', 'aac', '-metadata', 'location=+52.5+013.4/'],
    ]);
    bytes = await readFile(path);
  });

  test('has a poster, a thumb, a duration and a size', async () => {
    const media = await processBytes(videoProcessor, bytes, { mediaType: MP4 });
    expect(media).toMatchObject({ width: 1920, height: 1080, durationMs: 60_000 });
    expect(media.missing).toBeUndefined();
    expect(media.previews).toMatchObject([
      { variant: 'poster', contentType: 'image/webp', width: 1800, height: 1013 },
      { variant: 'thumb', contentType: 'image/webp', width: 320, height: 180 },
    ]);
    expect(Buffer.from(media.placeholder!, 'base64').length).toBeLessThan(40);
  });

  test('has a preview that browsers can play, where somebody wants it', async () => {
    const media = await processBytes(videoProcessor, bytes, { mediaType: MP4, settings: { video: true } });
    expect(media.missing).toBeUndefined();
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({ contentType: MP4, width: 1280, height: 720, durationMs: 60_000 });
    const { streams, format } = await describeVideo(preview.path);
    expect(streams).toMatchObject([
      {
        codec_type: 'video',
        codec_name: 'h264',
        width: 1280,
        height: 720,
        pix_fmt: 'yuv420p',
        profile: 'High',
      },
      { codec_type: 'audio', codec_name: 'aac' },
    ]);
    expect(Number(format.duration)).toBeCloseTo(60, 0);
    expect(JSON.stringify(format.tags)).not.toContain('52.5');
    const played = await readFile(preview.path, 'latin1');
    // Its index comes before its pictures: playing starts before all of it is there.
    expect(played.indexOf('moov')).toBeLessThan(played.indexOf('mdat'));
  });

  test('has a poster and a reason where its preview would be too large', async () => {
    const media = await processBytes(videoProcessor, bytes, {
      mediaType: MP4,
      settings: { video: true },
      limits: { outputBytes: 400_000 },
    });
    expect(media.previews.map(({ variant }) => variant)).toEqual(['poster', 'thumb']);
    expect(media.missing).toMatchObject({ code: 'too_large' });
  });

  test('has more pixels than allowed, and is not decoded', async () => {
    const limits = { pixels: 1_000_000 };
    await expect(processBytes(videoProcessor, bytes, { mediaType: MP4, limits })).rejects.toMatchObject({
      code: 'too_large',
    });
  });
});

describe('the poster', () => {
  test('shows what the video shows after a black beginning', async () => {
    const scene = 'drawbox=x=40:y=30:w=100:h=60:color=red:t=fill';
    const media = await processVideo(
      [
        ...[...color('black', 8), ...color('white', 2)],
        ...['-filter_complex', `[1]${scene}[scene];[0][scene]concat=n=2`, ...H264],
      ],
      'late.mp4',
      { mediaType: MP4 },
    );
    const poster = await readPicture(previewOf(media, 'poster').path);
    const expected = paint(320, 180, [{ color: [254, 0, 0], x: 40, y: 30, width: 100, height: 60 }]);
    expect(differenceOf(poster, expected)).toBeLessThan(0.02);
  });

  test('of a video that is black throughout is black', async () => {
    const media = await processVideo([...color('black', 2), ...H264], 'black.mp4', { mediaType: MP4 });
    const black = paint(320, 180, [{ color: [0, 0, 0], x: 0, y: 0, width: 320, height: 180 }]);
    expect(differenceOf(await readPicture(previewOf(media, 'poster').path), black)).toBe(0);
  });

  test('stands upright where the camera was held upright', async () => {
    const directory = await temporaryDirectory();
    const scene = 'drawbox=x=0:y=0:w=80:h=40:color=blue:t=fill';
    const lying = await makeVideo(directory, 'lying.mp4', [...color('white', 1), '-vf', scene, ...H264]);
    const media = await processBytes(videoProcessor, turnClockwise(await readFile(lying)), {
      mediaType: MP4,
    });
    expect(media).toMatchObject({ width: 180, height: 320 });
    const poster = await readPicture(previewOf(media, 'poster').path);
    const expected = paint(180, 320, [{ color: [0, 0, 254], x: 140, y: 0, width: 40, height: 80 }]);
    expect(differenceOf(poster, expected)).toBeLessThan(0.02);
  });

  test('of pixels that are no squares is as wide as it is meant to be seen', async () => {
    const media = await processVideo(
      [...color('white', 1, '720x576'), '-vf', 'setsar=16/11', ...H264],
      'wide.mp4',
      { mediaType: MP4, settings: { video: true } },
    );
    expect(media).toMatchObject({ width: 1047, height: 576 });
    expect(previewOf(media, 'poster')).toMatchObject({ width: 1047, height: 576 });
    expect(previewOf(media, 'preview')).toMatchObject({ width: 1048, height: 576 });
  });
});

/** Changes the matrix of the track's header (ISO/IEC 14496-12, 8.3.2) as a telephone does that is held upright. */
function turnClockwise(mp4: Buffer): Buffer {
  const matrix = mp4.indexOf('tkhd') + 44;
  const turned = [0, 0x10000, 0, -0x10000, 0, 0, 180 * 0x10000, 0, 0x40000000];
  for (const [index, value] of turned.entries()) mp4.writeInt32BE(value, matrix + index * 4);
  return mp4;
}

test.each([
  ['clip.webm', 'video/webm', ['-c:v', 'libvpx', '-deadline', 'realtime']],
  ['clip.mkv', 'video/x-matroska', H264],
  ['clip.mov', 'video/quicktime', H264],
  ['clip.3gp', 'video/3gpp', H264],
  ['clip.avi', 'video/x-msvideo', ['-c:v', 'mpeg4']],
  ['clip.ogv', 'video/ogg', ['-c:v', 'libtheora']],
  ['clip.flv', 'video/x-flv', ['-c:v', 'flv1']],
  ['clip.wmv', 'video/x-ms-wmv', ['-c:v', 'wmv2']],
  ['clip.mpg', 'video/mpeg', ['-c:v', 'mpeg2video', '-r', '25']],
  ['clip.ts', 'video/mp2t', H264],
])('%s is read as %s', async (name, mediaType, codec) => {
  const media = await processVideo(
    ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=10:duration=2', ...codec],
    name,
    { mediaType },
  );
  expect(media).toMatchObject({ width: 320, height: 180 });
  expect(media.durationMs).toBeGreaterThan(1800);
  expect(media.durationMs).toBeLessThan(2300);
  expect(media.previews.map(({ variant }) => variant)).toEqual(['poster', 'thumb']);
});

test('the duration of a recording that does not know its own is measured', async () => {
  const media = await processVideo(
    [...color('white', 3), '-c:v', 'libvpx', '-deadline', 'realtime', '-f', 'webm', '-live', '1'],
    'recording.webm',
    { mediaType: 'video/webm' },
  );
  expect(media.durationMs).toBeGreaterThan(2800);
  expect(media.durationMs).toBeLessThan(3200);
});

test('sound without a picture has a reason', async () => {
  const media = await processVideo([...TONE, '-t', '2', '-c:a', 'aac'], 'sound.mp4', { mediaType: MP4 });
  expect(media).toMatchObject({ previews: [], missing: { code: 'unsupported' } });
  expect(media.durationMs).toBeGreaterThan(1900);
});

test('without ffmpeg there is a reason', async () => {
  const missing = { ffmpeg: 'landfall-test-no-ffmpeg', ffprobe: 'landfall-test-no-ffprobe' };
  const media = await processBytes(videoProcessor, Buffer.alloc(10), { mediaType: MP4, settings: missing });
  expect(media).toEqual({
    previews: [],
    missing: { code: 'tool_missing', message: 'landfall-test-no-ffprobe is not installed.' },
  });
});

test('a type that nothing reads has a reason', async () => {
  const media = await processBytes(videoProcessor, Buffer.alloc(10), { mediaType: 'video/x-unknown' });
  expect(media).toMatchObject({ previews: [], missing: { code: 'unsupported' } });
});

test('a file that is cut off, or no video, is corrupt', async () => {
  const path = await makeVideo(await temporaryDirectory(), 'whole.mp4', [...color('white', 2), ...H264]);
  const whole = await readFile(path);
  // The index of such a file is at its end.
  for (const bytes of [
    whole.subarray(0, whole.length / 2),
    Buffer.from('\0\0\0\x20ftypisom'),
    Buffer.alloc(0),
  ]) {
    await expect(processBytes(videoProcessor, bytes, { mediaType: MP4 })).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'corrupt',
    });
  }
});

test('a program that hangs is ended at the limit, and with the signal', async () => {
  const directory = await temporaryDirectory();
  const ffprobe = join(directory, 'hangs');
  await writeFile(ffprobe, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  const options = { mediaType: MP4, settings: { ffprobe } };
  await expect(
    processBytes(videoProcessor, Buffer.alloc(10), { ...options, limits: { timeMs: 500 } }),
  ).rejects.toMatchObject({ code: 'timeout' });
  const controller = new AbortController();
  const reason = new Error('the worker ends');
  setTimeout(() => controller.abort(reason), 200);
  await expect(
    processBytes(videoProcessor, Buffer.alloc(10), { ...options, signal: controller.signal }),
  ).rejects.toBe(reason);
});

test('a program that takes too much memory is ended', async () => {
  const directory = await temporaryDirectory();
  const ffprobe = join(directory, 'grows');
  const script = `#!${process.execPath}\nconst held = [];\nsetInterval(() => held.push(Buffer.alloc(2 ** 25, 1)), 10);\n`;
  await writeFile(ffprobe, script, { mode: 0o755 });
  const options = {
    mediaType: MP4,
    settings: { ffprobe },
    limits: { memoryBytes: process.memoryUsage.rss() + 400 * 1024 ** 2 },
  };
  await expect(processBytes(videoProcessor, Buffer.alloc(10), options)).rejects.toMatchObject({
    code: 'out_of_memory',
  });
});

describe('a playlist that calls itself a video', () => {
  let server: Server;
  let address: string;
  const requests: string[] = [];

  beforeAll(async () => {
    server = createServer((request, response) => {
      requests.push(request.url ?? '');
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => {
    server.close();
  });

  const PLAYLISTS: Record<string, (address: string) => string> = {
    HLS: (host) => `#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://${host}/hls.ts\n#EXT-X-ENDLIST\n`,
    concat: (host) => `ffconcat version 1.0\nfile 'http://${host}/concat.mp4'\n`,
    DASH: (host) =>
      `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>http://${host}/dash.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>`,
    SDP: (host) => `v=0\no=- 0 0 IN IP4 ${host}\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n`,
    'a file': () => "ffconcat version 1.0\nfile '/etc/passwd'\n",
  };

  test.each(Object.keys(PLAYLISTS))('%s is corrupt, and nothing is fetched', async (kind) => {
    const bytes = Buffer.from(PLAYLISTS[kind]!(address));
    for (const mediaType of [MP4, 'video/webm', 'video/mpeg', 'video/mp2t']) {
      const made = processBytes(videoProcessor, bytes, {
        mediaType,
        name: 'innocent.mp4',
        settings: { video: true },
      });
      await expect(made).rejects.toMatchObject({ code: 'corrupt' });
    }
    expect(requests).toEqual([]);
  });

  test('is one that ffprobe by itself would follow', async () => {
    const path = join(await temporaryDirectory(), 'innocent.mp4');
    await writeFile(path, PLAYLISTS.HLS!(address));
    await run('ffprobe', ['-protocol_whitelist', 'file,http,tcp', '-allowed_extensions', 'ALL', path]).catch(
      () => {},
    );
    expect(requests).toContain('/hls.ts');
  });
});

const directories: string[] = [];

/** A directory that is gone after all tests of this file. */
async function temporaryDirectoryOfSuite(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-videos-'));
  directories.push(directory);
  return directory;
}

afterAll(async () => {
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
});
