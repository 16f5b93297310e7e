import { Counter, Histogram, type Registry } from 'prom-client';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { MediaInfo } from '../../stores/media-info.ts';

/** What is measured when it happens. Labels are few and fixed: never an id, a name or a type as sent. */
export interface Meters {
  /** All bytes of an upload are there. */
  received(record: UploadRecord): void;
  /** Previews were made, or were not, with the reason. */
  processed(record: UploadRecord, media: MediaInfo): void;
  /** An upload came to its end in this process. */
  ended(record: UploadRecord): void;
  /** An original or a preview: from the request to the first byte of the answer. */
  delivered(what: Delivery, seconds: number): void;
}

export type Delivery = 'original' | 'media';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];
const KIB = 1024;
const MIB = 1024 * KIB;
const SPEEDS = [32 * KIB, 128 * KIB, 512 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB];
const MEMORY = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048].map((mebibytes) => mebibytes * MIB);
const RATIOS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2];

export function createMeters(registry: Registry): Meters {
  const registers = [registry];
  const histogram = <Label extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: Label[] = [],
  ) => new Histogram<Label>({ name: `landfall_${name}`, help, buckets, labelNames, registers });
  const counter = <Label extends string = never>(name: string, help: string, labelNames: Label[] = []) =>
    new Counter<Label>({ name: `landfall_${name}`, help, labelNames, registers });

  const speed = histogram(
    'upload_speed_bytes_per_second',
    'Bytes of an upload that were received, over the time in which its bodies were.',
    SPEEDS,
  );
  const firstByte = histogram(
    'upload_first_byte_seconds',
    "From an upload's creation to its first byte.",
    SECONDS,
  );
  const duration = histogram(
    'upload_duration_seconds',
    "From an upload's creation to its last byte, pauses included.",
    SECONDS,
  );
  const ended = counter('uploads_ended_total', 'Uploads that came to their end in this process.', ['state']);
  const queued = histogram(
    'processing_queued_seconds',
    'From the last byte to the begin of the work on previews.',
    SECONDS,
  );
  const processing = histogram('processing_seconds', 'Work on the previews of one upload.', SECONDS, [
    'kind',
  ]);
  const retries = counter('processing_retries_total', 'Attempts at previews after the first.');
  const cpu = counter('processing_cpu_seconds_total', 'Processor time of the processes that make previews.', [
    'kind',
  ]);
  const memory = histogram(
    'processing_peak_memory_bytes',
    'Most resident memory of a process while it made the previews of one upload.',
    MEMORY,
    ['kind'],
  );
  const outcomes = counter('previews_total', 'Uploads whose previews were made, or why they were not.', [
    'kind',
    'outcome',
  ]);
  const ratio = histogram('preview_ratio', 'Bytes of a preview over bytes of its original.', RATIOS, [
    'kind',
  ]);
  const delivery = histogram(
    'delivery_first_byte_seconds',
    'From a download request to the first byte of its answer.',
    SECONDS,
    ['what'],
  );

  return {
    received({ createdAtMs, firstByteAtMs, receivedAtMs, receivedBytes, receivingMs }) {
      // The smallest come in less than a millisecond.
      if (receivedBytes > 0) speed.observe((receivedBytes / Math.max(receivingMs, 1)) * 1000);
      if (firstByteAtMs !== null) firstByte.observe(secondsBetween(createdAtMs, firstByteAtMs));
      if (receivedAtMs !== null) duration.observe(secondsBetween(createdAtMs, receivedAtMs));
    },
    processed({ size }, media) {
      const kind = kindOf(media.type);
      outcomes.inc({ kind, outcome: media.missing?.code ?? 'made' });
      const preview = media.previews.find(({ variant }) => variant === 'preview');
      if (preview !== undefined && size) ratio.observe({ kind }, preview.size / size);
      const facts = media.processing;
      if (facts === undefined) return;
      queued.observe(facts.queuedMs / 1000);
      processing.observe({ kind }, facts.durationMs / 1000);
      retries.inc(facts.attempts - 1);
      cpu.inc({ kind }, facts.cpuMs / 1000);
      memory.observe({ kind }, facts.peakMemoryBytes);
    },
    ended: ({ state }) => ended.inc({ state }),
    delivered: (what, seconds) => delivery.observe({ what }, seconds),
  };
}

function kindOf(type: string | null): string {
  const [kind = ''] = (type ?? '').split('/');
  if (kind === 'image' || kind === 'video') return kind;
  return type === 'application/pdf' ? 'document' : 'other';
}

function secondsBetween(fromMs: number, toMs: number): number {
  return Math.max(0, toMs - fromMs) / 1000;
}
